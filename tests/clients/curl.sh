#!/usr/bin/env bash
# Plain curl against the gateway: what any client in any language can do. Prints `ok NAME` or
# `FAILED NAME` for each case; `run.py` counts them.
set -u

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
failed=0
CHAT='{"model":"sim-plain","messages":[{"role":"user","content":"Which shelf?"}],"max_tokens":32}'
STREAM='{"model":"sim-plain","messages":[{"role":"user","content":"Which shelf?"}],"max_tokens":32,"stream":true}'
MESSAGE='{"model":"sim-plain","messages":[{"role":"user","content":"Which shelf?"}],"max_tokens":32}'

# call TASK PATH BODY [CURL OPTION…]: sets $status; the head is in $home/head, the body in $home/body.
call() {
  local task=$1 path=$2 body=$3
  shift 3
  status=$(curl -sS -N --max-time 30 -D "$home/head" -o "$home/body" -w '%{http_code}' \
    -H 'content-type: application/json' -H "x-bursar-task-id: curl-$task" \
    "$@" --data-binary "$body" "$GATEWAY$path")
}
bearer=(-H "authorization: Bearer $CREW_KEY")

head_has() { grep -qi "^$1" "$home/head" || { echo "    no header $1"; return 1; }; }
head_lacks() { ! grep -qi "^$1" "$home/head" || { echo "    unexpected header $1"; return 1; }; }
body_has() { grep -q -- "$1" "$home/body" || { echo "    no $1 in $(head -c 300 "$home/body")"; return 1; }; }
body_lacks() { ! grep -q -- "$1" "$home/body" || { echo "    $1 in the body"; return 1; }; }
status_is() { [[ $status == "$1" ]] || { echo "    status $status: $(head -c 300 "$home/body")"; return 1; }; }

plain() {
  call plain /v1/chat/completions "$CHAT" "${bearer[@]}"
  status_is 200 && body_has '"choices"' && head_has 'x-bursar-task-id: curl-plain' &&
    head_has 'x-bursar-request-id:' && head_has 'x-bursar-cost-usd: 0\.'
}
stream() {
  call stream /v1/chat/completions "$STREAM" "${bearer[@]}"
  status_is 200 && head_has 'content-type: text/event-stream' && head_lacks 'x-bursar-cost-usd' &&
    [[ $(tail -c 16 "$home/body") == *"data: [DONE]"* ]] && body_lacks '"choices":\[\]'
}
key_in_x_api_key() {
  call messages /v1/messages "$MESSAGE" -H "x-api-key: $CREW_KEY" -H 'anthropic-version: 2023-06-01'
  status_is 200 && body_has '"type":"message"'
}
odd_path_and_query() {
  call beta '/v1/messages?beta=true' "$MESSAGE" -H "x-api-key: $CREW_KEY" -H 'anthropic-version: 2023-06-01'
  status_is 200
}
azure_form() {
  call azure '/openai/deployments/sim-plain/chat/completions?api-version=2025-01-01' "$CHAT" -H "api-key: $CREW_KEY"
  status_is 200 && body_has '"choices"'
}
compressed_answer() {
  call gzip /v1/chat/completions "${CHAT/sim-plain/sim-gzip}" "${bearer[@]}" --compressed
  status_is 200 && body_has '"choices"' && head_has 'x-bursar-cost-usd: 0\.'
}
refused_chat() {
  call refused /v1/chat/completions "$CHAT" "${bearer[@]}" -H 'x-bursar-task-usd: 0.000001'
  status_is 402 && head_has 'x-should-retry: false' && head_lacks 'retry-after' &&
    body_has '"code": *"task_budget_exceeded"' && body_has '"type": *"insufficient_quota"'
}
refused_message() {
  call refused-m /v1/messages "$MESSAGE" "${bearer[@]}" -H 'x-bursar-task-usd: 0.000001'
  status_is 402 && body_has '"type": *"billing_error"' && body_has '"code": *"task_budget_exceeded"'
}
no_key() {
  call nobody /v1/chat/completions "$CHAT"
  status_is 401 && body_has '"unauthenticated"'
}
malformed_json() {
  call malformed /v1/chat/completions '{"model": "sim-plain", "messages": [' "${bearer[@]}"
  status_is 400 && body_has '"invalid_request"'
}
duplicate_keys() {
  call twice /v1/chat/completions "${CHAT/\"max_tokens\":32/\"max_tokens\":32,\"max_tokens\":9000}" "${bearer[@]}"
  status_is 400 && body_has '"invalid_request"'
}
unmetered_endpoint() {
  call files /v1/fine_tuning/jobs '{}' "${bearer[@]}"
  status_is 403 && body_has '"unmetered_endpoint"'
}
budget() {
  status=$(curl -sS --max-time 10 -o "$home/body" -w '%{http_code}' "${bearer[@]}" \
    -H 'x-bursar-task-id: curl-plain' "$GATEWAY/v1/budget")
  status_is 200 && body_has 'settled'
}
probes() {
  [[ $(curl -sS -o /dev/null -w '%{http_code}' "$OPS/livez") == 200 ]] &&
    [[ $(curl -sS -o /dev/null -w '%{http_code}' "$OPS/readyz") == 200 ]]
}

for each in plain stream key_in_x_api_key odd_path_and_query azure_form compressed_answer refused_chat \
  refused_message no_key malformed_json duplicate_keys unmetered_endpoint budget probes; do
  [[ $# == 0 || " $* " == *" $each "* ]] || continue
  if "$each"; then echo "ok curl: ${each//_/ }"; else echo "FAILED curl: ${each//_/ }"; failed=1; fi
done
exit "$failed"
