"""anthropic-python against the gateway."""

import asyncio
import os
import subprocess
import sys
import time

import anthropic

from suite import (
    CREW_KEY,
    GATEWAY,
    SLOW_KEY,
    Denials,
    Person,
    billed,
    books_agree,
    case,
    check_message,
    main,
    open_task,
)

HELLO = [{"role": "user", "content": "Which shelf holds the atlases?"}]
SYSTEM = "You are a librarian."
TOOLS = [
    {
        "name": "look_up",
        "description": "Looks a shelf up.",
        "input_schema": {
            "type": "object",
            "properties": {"subject": {"type": "string"}},
            "required": ["subject"],
        },
    }
]
# The older way to send a key; the SDK's own header is left out.
X_API_KEY = {"x-api-key": CREW_KEY, "authorization": anthropic.Omit()}
ASK = {"model": "sim-plain", "system": SYSTEM, "messages": HELLO, "max_tokens": 64}


def client(task, key=CREW_KEY, kind=anthropic.Anthropic, **options):
    headers = {"x-bursar-task-id": f"an-{task}", "x-bursar-agent-id": "librarian"}
    headers |= options.pop("headers", {})
    return kind(base_url=GATEWAY, api_key=key, default_headers=headers, **options)


def counting(task, **options):
    """A client, and the list of requests that it really sent."""
    sent = []
    hooks = {"request": [lambda request: sent.append(request)]}
    http_client = anthropic.DefaultHttpxClient(event_hooks=hooks)
    return client(task, http_client=http_client, **options), sent


@case
def plain():
    raw = client("plain").messages.with_raw_response.create(**ASK)
    answer = raw.parse()
    assert answer.content[0].text and 0 < answer.usage.output_tokens <= 64
    assert raw.headers["x-bursar-task-id"] == "an-plain"
    assert float(raw.headers["x-bursar-cost-usd"]) > 0
    books_agree("an-plain", calls=1)


@case
def key_in_x_api_key():
    ours = client("x-api-key", key="ignored", headers=X_API_KEY)
    ours.messages.create(**ASK)
    books_agree("an-x-api-key", calls=1)


@case
def stream():
    with client("stream").messages.stream(**ASK) as answer:
        text = "".join(answer.text_stream)
        final = answer.get_final_message()
    assert text and final.usage.output_tokens > 0
    assert final.stop_reason in ("end_turn", "max_tokens")
    books_agree("an-stream", calls=1)


@case
def raw_stream_left_in_the_middle_is_metered_in_full():
    answer = client("left").messages.create(**{**ASK, "max_tokens": 256}, stream=True)
    next(iter(answer))
    answer.close()
    books_agree("an-left", calls=1)


@case
def tools_and_their_results():
    ours = client("tools")
    first = ours.messages.create(**{**ASK, "model": "sim-tools"}, tools=TOOLS)
    used = [block for block in first.content if block.type == "tool_use"]
    assert used and used[0].name == "look_up" and first.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "Room 2, shelf 14"}
        for block in used
    ]
    messages = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    second = ours.messages.create(**{**ASK, "messages": messages}, tools=TOOLS)
    assert second.content
    books_agree("an-tools", calls=2)


@case
def tools_in_a_stream():
    ours = client("tools-stream")
    with ours.messages.stream(**{**ASK, "model": "sim-tools"}, tools=TOOLS) as answer:
        final = answer.get_final_message()
    assert any(block.type == "tool_use" for block in final.content)
    books_agree("an-tools-stream", calls=1)


@case
def cache_control_passes():
    system = [{"type": "text", "text": SYSTEM * 200, "cache_control": {"type": "ephemeral"}}]
    ours = client("cache")
    for _ in range(2):
        ours.messages.create(**{**ASK, "system": system})
    books_agree("an-cache", calls=2)


@case
def count_tokens_costs_nothing():
    ours = client("count")
    counted = ours.messages.count_tokens(model="sim-plain", system=SYSTEM, messages=HELLO)
    assert counted.input_tokens > 0
    assert billed("an-count") == (0, 0)


@case
async def asynchronous_calls_at_once():
    async with client("async", kind=anthropic.AsyncAnthropic) as ours:
        answers = await asyncio.gather(*(ours.messages.create(**ASK) for _ in range(12)))
    assert all(answer.content[0].text for answer in answers)
    books_agree("an-async", calls=12)


@case
async def asynchronous_stream():
    async with client("async-stream", kind=anthropic.AsyncAnthropic) as ours:
        async with ours.messages.stream(**ASK) as answer:
            text = "".join([part async for part in answer.text_stream])
    assert text
    books_agree("an-async-stream", calls=1)


def check_refusal(error, code):
    assert error.status_code == 402, error
    assert isinstance(error, anthropic.PaymentRequiredError), type(error)
    body = error.body
    assert body["type"] == "error" and body["error"]["type"] == "billing_error", body
    assert body["error"]["code"] == code and body["error"]["bursar"]["limit"], body
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    check_message(body["error"]["message"])


@case
def a_refused_call_is_attempted_once():
    for name, extra in {"plain": {}, "stream": {"stream": True}}.items():
        poor = {"x-bursar-task-usd": "0.000001"}
        ours, sent = counting(f"refused-{name}", headers=poor)
        with Denials() as denials:
            try:
                ours.messages.create(**ASK, **extra)
            except anthropic.APIStatusError as error:
                check_refusal(error, "task_budget_exceeded")
            else:
                raise AssertionError(f"{name} was not refused")
        seen = (len(sent), denials.refused, denials.reached)
        assert seen == (1, 1, 0), f"{name}: sent, refused, reached the provider: {seen}"


@case
def turns_run_out():
    open_task("an-turns", turns=1)
    ours, sent = counting("turns")
    ours.messages.create(**ASK)
    try:
        ours.messages.create(**ASK)
    except anthropic.APIStatusError as error:
        check_refusal(error, "turns_exceeded")
    else:
        raise AssertionError("the second turn was not refused")
    assert len(sent) == 2
    books_agree("an-turns", calls=1)


@case
def the_wrong_key():
    try:
        client("key", key="bursar-nobody").messages.create(**ASK)
    except anthropic.AuthenticationError as error:
        assert error.body["error"]["code"] == "unauthenticated", error.body
    else:
        raise AssertionError("an unknown key was let in")


@case
def the_providers_own_error_passes():
    ours, sent = counting("provider-error")
    try:
        ours.messages.create(**{**ASK, "model": "sim-400"})
    except anthropic.BadRequestError as error:
        assert "bursar" not in error.body["error"], error.body
    else:
        raise AssertionError("the provider's error was lost")
    assert len(sent) == 1 and billed("an-provider-error") == (0, 0)


@case
def a_rate_limit_is_waited_for():
    hasty = client("rate", key=SLOW_KEY, max_retries=0)
    patient = client("rate", key=SLOW_KEY, max_retries=3)
    ask = {**ASK, "model": "sim-cheap", "max_tokens": 1}
    refusal = None
    for _ in range(200):
        try:
            hasty.messages.create(**ask)
        except anthropic.RateLimitError as error:
            refusal = error
            break
        except anthropic.PaymentRequiredError:
            raise AssertionError("the budget ran out before the rate did") from None
    assert refusal is not None, "200 calls at once passed a limit of 60 a minute"
    assert refusal.body["error"]["code"] == "rate_limited", refusal.body
    wait = int(refusal.response.headers["retry-after"])
    assert 1 <= wait <= 60
    start = time.monotonic()
    patient.messages.create(**ask)
    assert time.monotonic() - start <= wait + 2


@case
def attribution_by_environment():
    program = (
        "import anthropic; anthropic.Anthropic().messages.create("
        "model='sim-plain', messages=[{'role': 'user', 'content': 'Hello'}], max_tokens=16)"
    )
    said = {
        "ANTHROPIC_BASE_URL": GATEWAY,
        "ANTHROPIC_API_KEY": CREW_KEY,
        "ANTHROPIC_CUSTOM_HEADERS": "x-bursar-task-id: an-environment",
    }
    subprocess.run([sys.executable, "-c", program], env=os.environ | said, check=True)
    books_agree("an-environment", calls=1)


@case
def a_stream_kept_alive_until_a_person_approves():
    ours, sent = counting("ask-stream")
    ours.messages.create(**ASK)
    with Person("an-ask-stream", "approve", after=6, turns=1):
        with ours.messages.stream(**ASK) as stream:
            message = stream.get_final_message()
    assert message.content[0].text and message.usage.output_tokens > 0
    assert len(sent) == 2
    books_agree("an-ask-stream", calls=2)


@case
def a_stream_that_a_person_ends():
    ours, sent = counting("ask-end")
    ours.messages.create(**ASK)
    with Person("an-ask-end", "deny", after=6) as person:
        try:
            with ours.messages.stream(**ASK) as stream:
                stream.get_final_message()
        except anthropic.APIStatusError as error:
            refusal = error.body["error"]
            assert refusal["code"] == "task_suspended", error.body
        else:
            raise AssertionError("the stream ended as if nothing had happened")
    assert refusal["bursar"]["escalation"] == person.question
    assert len(sent) == 2, "an ended stream is not tried again"


if __name__ == "__main__":
    main(f"anthropic-python {anthropic.__version__}")
