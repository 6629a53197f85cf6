"""openai-python against the gateway: the same suite for version 2 (httpx) and version 3 (httpx2)."""

import asyncio
import os
import subprocess
import sys
import time

import openai
import pydantic

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
    metric,
    open_task,
)

SUITE = f"openai-python {openai.__version__}"
PREFIX = "py" + openai.__version__.partition(".")[0]
HELLO = [
    {"role": "system", "content": "You are a librarian."},
    {"role": "user", "content": "Which shelf holds the atlases?"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Looks a shelf up.",
            "parameters": {
                "type": "object",
                "properties": {"subject": {"type": "string"}},
                "required": ["subject"],
            },
        },
    }
]


class Shelf(pydantic.BaseModel):
    room: str
    number: int


def client(task, key=CREW_KEY, **options):
    headers = {"x-bursar-task-id": f"{PREFIX}-{task}", "x-bursar-agent-id": "librarian"}
    headers |= options.pop("headers", {})
    return openai.OpenAI(
        base_url=f"{GATEWAY}/v1", api_key=key, default_headers=headers, **options
    )


def async_client(task):
    headers = {"x-bursar-task-id": f"{PREFIX}-{task}"}
    return openai.AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=CREW_KEY, default_headers=headers)


def counting(task, **options):
    """A client, and the list of requests that it really sent."""
    sent = []
    hooks = {"request": [lambda request: sent.append(request)]}
    http_client = openai.DefaultHttpxClient(event_hooks=hooks)
    return client(task, http_client=http_client, **options), sent


@case
def plain():
    raw = client("plain").chat.completions.with_raw_response.create(
        model="sim-plain", messages=HELLO, max_tokens=64
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert 0 < answer.usage.completion_tokens <= 64
    assert raw.headers["x-bursar-task-id"] == f"{PREFIX}-plain"
    assert raw.headers["x-bursar-agent-id"] == "librarian"
    assert raw.headers["x-bursar-attribution"] == "explicit"
    assert float(raw.headers["x-bursar-cost-usd"]) > 0
    assert 0 < float(raw.headers["x-bursar-remaining-usd"]) < 1
    books_agree(f"{PREFIX}-plain", calls=1)


@case
def several_choices():
    answer = client("choices").chat.completions.create(
        model="sim-plain", messages=HELLO, max_tokens=32, n=3
    )
    assert len(answer.choices) == 3
    books_agree(f"{PREFIX}-choices", calls=1)


@case
def stream_that_asks_for_no_usage_gets_none_and_is_metered():
    stream = client("stream").chat.completions.create(
        model="sim-plain", messages=HELLO, max_tokens=64, stream=True
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks)
    assert all(chunk.choices for chunk in chunks), "a chunk without choices was not asked for"
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    books_agree(f"{PREFIX}-stream", calls=1)


@case
def stream_that_asks_for_usage_gets_it():
    stream = client("stream-usage").chat.completions.create(
        model="sim-plain",
        messages=HELLO,
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert last.choices == [] and last.usage.completion_tokens > 0
    books_agree(f"{PREFIX}-stream-usage", calls=1)


@case
def stream_left_in_the_middle_is_metered_in_full():
    stream = client("left").chat.completions.create(
        model="sim-plain", messages=HELLO, max_tokens=256, stream=True
    )
    next(iter(stream))
    stream.close()
    books_agree(f"{PREFIX}-left", calls=1)


@case
def tools_and_their_results():
    ours = client("tools")
    first = ours.chat.completions.create(
        model="sim-tools", messages=HELLO, tools=TOOLS, max_tokens=128
    )
    message = first.choices[0].message
    assert message.tool_calls and message.tool_calls[0].function.name == "look_up"
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "Room 2, shelf 14"}
        for call in message.tool_calls
    ]
    second = ours.chat.completions.create(
        model="sim-plain", messages=[*HELLO, message, *results], tools=TOOLS, max_tokens=128
    )
    assert second.choices[0].message.content
    books_agree(f"{PREFIX}-tools", calls=2)


@case
def tools_in_a_stream():
    stream = client("tools-stream").chat.completions.create(
        model="sim-tools", messages=HELLO, tools=TOOLS, max_tokens=128, stream=True
    )
    names = [
        call.function.name
        for chunk in stream
        for call in chunk.choices[0].delta.tool_calls or []
        if call.function.name
    ]
    assert "look_up" in names
    books_agree(f"{PREFIX}-tools-stream", calls=1)


@case
def structured_output():
    answer = client("structured").chat.completions.parse(
        model="sim-plain", messages=HELLO, response_format=Shelf, max_tokens=512
    )
    assert isinstance(answer.choices[0].message.parsed, Shelf)
    books_agree(f"{PREFIX}-structured", calls=1)


@case
async def asynchronous_calls_at_once():
    async with async_client("async") as ours:
        calls = [
            ours.chat.completions.create(model="sim-plain", messages=HELLO, max_tokens=32)
            for _ in range(12)
        ]
        answers = await asyncio.gather(*calls)
    assert all(answer.choices[0].message.content for answer in answers)
    books_agree(f"{PREFIX}-async", calls=12)


@case
async def asynchronous_stream():
    async with async_client("async-stream") as ours:
        stream = await ours.chat.completions.create(
            model="sim-plain", messages=HELLO, max_tokens=64, stream=True
        )
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text)
    books_agree(f"{PREFIX}-async-stream", calls=1)


@case
def embeddings():
    ours = client("embeddings")
    answer = ours.embeddings.create(model="sim-embed", input=["a map", "an atlas"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 0
    answer = ours.embeddings.create(model="sim-embed", input="a map", encoding_format="float")
    assert isinstance(answer.data[0].embedding[0], float)
    books_agree(f"{PREFIX}-embeddings", calls=2)


@case
def completions():
    answer = client("completions").completions.create(
        model="sim-plain", prompt="The atlases stand", max_tokens=32
    )
    assert answer.choices[0].text
    books_agree(f"{PREFIX}-completions", calls=1)


@case
def responses():
    ours = client("responses")
    first = ours.responses.create(
        model="sim-plain", input="Which shelf?", instructions="Be brief.", max_output_tokens=64
    )
    assert first.output_text and first.status in ("completed", "incomplete")
    second = ours.responses.create(
        model="sim-plain",
        input="And which room?",
        previous_response_id=first.id,
        max_output_tokens=64,
    )
    assert second.output_text
    books_agree(f"{PREFIX}-responses", calls=2)


@case
def responses_stream():
    with client("responses-stream").responses.stream(
        model="sim-plain", input="Which shelf?", max_output_tokens=64
    ) as stream:
        events = list(stream)
    assert any(event.type == "response.output_text.delta" for event in events)
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.usage.output_tokens > 0
    books_agree(f"{PREFIX}-responses-stream", calls=1)


@case
def models():
    assert all(model.id for model in client("models").models.list())


def check_refusal(error, status=402, code="task_budget_exceeded"):
    assert error.status_code == status, error
    assert (error.code, error.type) == (code, "insufficient_quota"), error.body
    assert error.body["bursar"]["limit"], error.body
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    check_message(error.message)


@case
def a_refused_call_is_attempted_once():
    calls = {
        "chat": lambda ours: ours.chat.completions.create(model="sim-plain", messages=HELLO),
        "chat-stream": lambda ours: ours.chat.completions.create(
            model="sim-plain", messages=HELLO, stream=True
        ),
        "responses": lambda ours: ours.responses.create(model="sim-plain", input="Which?"),
        "embeddings": lambda ours: ours.embeddings.create(
            model="sim-embed", input="Which?" * 1000
        ),
    }
    for name, call in calls.items():
        poor = {"x-bursar-task-usd": "0.000001"}
        ours, sent = counting(f"refused-{name}", headers=poor)
        with Denials() as denials:
            try:
                call(ours)
            except openai.APIStatusError as error:
                check_refusal(error)
            else:
                raise AssertionError(f"{name} was not refused")
        seen = (len(sent), denials.refused, denials.reached)
        assert seen == (1, 1, 0), f"{name}: sent, refused, reached the provider: {seen}"


@case
def turns_run_out():
    open_task(f"{PREFIX}-turns", turns=2)
    ours, sent = counting("turns")
    for _ in range(2):
        ours.chat.completions.create(model="sim-plain", messages=HELLO, max_tokens=32)
    try:
        ours.chat.completions.create(model="sim-plain", messages=HELLO, max_tokens=32)
    except openai.APIStatusError as error:
        check_refusal(error, code="turns_exceeded")
    else:
        raise AssertionError("the third turn was not refused")
    assert len(sent) == 3
    books_agree(f"{PREFIX}-turns", calls=2)


@case
def the_wrong_key():
    try:
        client("key", key="bursar-nobody").chat.completions.create(
            model="sim-plain", messages=HELLO
        )
    except openai.AuthenticationError as error:
        assert error.code == "unauthenticated", error.body
    else:
        raise AssertionError("an unknown key was let in")
    assert billed(f"{PREFIX}-key") == (0, 0)


@case
def a_model_that_the_key_may_not_use():
    try:
        client("model", key=SLOW_KEY).chat.completions.create(model="gpt-4o", messages=HELLO)
    except openai.PermissionDeniedError as error:
        assert error.code == "not_permitted", error.body
    else:
        raise AssertionError("a model outside the key's list was let through")


@case
def a_malformed_id():
    try:
        client("x", headers={"x-bursar-task-id": "two words"}).chat.completions.create(
            model="sim-plain", messages=HELLO
        )
    except openai.BadRequestError as error:
        assert error.code == "invalid_request", error.body
    else:
        raise AssertionError("a malformed task id was accepted")


@case
def the_providers_own_error_passes():
    ours, sent = counting("provider-error")
    try:
        ours.chat.completions.create(model="sim-400", messages=HELLO, max_tokens=32)
    except openai.BadRequestError as error:
        assert "bursar" not in (error.body or {}), error.body
    else:
        raise AssertionError("the provider's error was lost")
    assert len(sent) == 1 and billed(f"{PREFIX}-provider-error") == (0, 0)


@case
def an_error_in_mid_stream():
    stream = client("mid-stream").chat.completions.create(
        model="sim-error-event", messages=HELLO, max_tokens=64, stream=True
    )
    try:
        for _ in stream:
            pass
    except openai.APIError:
        pass
    else:
        raise AssertionError("the stream ended as if all were well")


@case
def a_rate_limit_is_waited_for():
    patient, _ = counting("rate", key=SLOW_KEY, max_retries=3)
    hasty, _ = counting("rate", key=SLOW_KEY, max_retries=0)
    ask = {"model": "sim-embed", "input": "a"}
    refusal = None
    for _ in range(200):
        try:
            hasty.embeddings.create(**ask)
        except openai.RateLimitError as error:
            refusal = error
            break
    assert refusal is not None, "200 calls at once passed a limit of 60 a minute"
    assert refusal.code == "rate_limited", refusal.body
    wait = int(refusal.response.headers["retry-after"])
    assert 1 <= wait <= 60
    start = time.monotonic()
    raw = patient.embeddings.with_raw_response.create(**ask)
    waited = time.monotonic() - start
    assert raw.retries_taken <= 1 and waited <= wait + 2, (raw.retries_taken, waited)


@case
def attribution_by_environment():
    task = f"{PREFIX}-environment"
    program = (
        "import openai; openai.OpenAI().chat.completions.create("
        "model='sim-plain', messages=[{'role': 'user', 'content': 'Hello'}], max_tokens=16)"
    )
    said = {
        "OPENAI_BASE_URL": f"{GATEWAY}/v1",
        "OPENAI_API_KEY": CREW_KEY,
        "OPENAI_CUSTOM_HEADERS": f"x-bursar-task-id: {task}\nx-bursar-agent-id: clerk",
    }
    subprocess.run([sys.executable, "-c", program], env=os.environ | said, check=True)
    books_agree(task, calls=1)


@case
def attribution_by_path():
    task = f"{PREFIX}-path"
    ours = openai.OpenAI(base_url=f"{GATEWAY}/task/{task}/agent/clerk/v1", api_key=CREW_KEY)
    ours.chat.completions.create(model="sim-plain", messages=HELLO, max_tokens=16)
    books_agree(task, calls=1)


@case
def a_call_held_open_until_a_person_approves():
    ours, sent = counting("ask-plain")
    ask = {"model": "sim-plain", "messages": HELLO, "max_tokens": 16}
    ours.chat.completions.create(**ask)
    with Person(f"{PREFIX}-ask-plain", "approve", turns=1):
        assert ours.chat.completions.create(**ask).choices[0].message.content
    assert len(sent) == 2, "a held call is not tried again"
    books_agree(f"{PREFIX}-ask-plain", calls=2)


@case
def a_call_that_a_person_refuses():
    ours, sent = counting("ask-no")
    ask = {"model": "sim-plain", "messages": HELLO, "max_tokens": 16}
    ours.chat.completions.create(**ask)
    with Person(f"{PREFIX}-ask-no", "deny", why="start over") as person:
        try:
            ours.chat.completions.create(**ask)
        except openai.APIStatusError as error:
            assert error.status_code == 402 and error.code == "task_suspended", error.body
            refusal = error.body
        else:
            raise AssertionError("it was let through")
    assert refusal["bursar"]["escalation"] == person.question
    assert "start over" in refusal["message"]
    assert len(sent) == 2, "a refused call is not tried again"


@case
def a_stream_kept_alive_until_a_person_approves():
    ours, sent = counting("ask-stream")
    ask = {"model": "sim-plain", "messages": HELLO, "max_tokens": 16}
    ours.chat.completions.create(**ask)
    # Longer than the gateway waits before it sends a head of its own.
    with Person(f"{PREFIX}-ask-stream", "approve", after=6, turns=1):
        chunks = list(ours.chat.completions.create(**ask, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert len(sent) == 2
    books_agree(f"{PREFIX}-ask-stream", calls=2)


@case
def a_stream_that_a_person_ends():
    ours, sent = counting("ask-end")
    ours.responses.create(model="sim-plain", input="Hello", max_output_tokens=16)
    with Person(f"{PREFIX}-ask-end", "deny", after=6) as person:
        events = list(
            ours.responses.create(
                model="sim-plain", input="Hello", max_output_tokens=16, stream=True
            )
        )
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "task_suspended"
    assert person.question in events[-1].response.error.message
    with Person(f"{PREFIX}-ask-chat-end", "deny", after=6) as person:
        ours, sent = counting("ask-chat-end")
        ask = {"model": "sim-plain", "messages": HELLO, "max_tokens": 16}
        ours.chat.completions.create(**ask)
        try:
            list(ours.chat.completions.create(**ask, stream=True))
        except openai.APIError as error:
            assert error.code == "task_suspended", error.body
        else:
            raise AssertionError("the stream ended as if nothing had happened")
    assert len(sent) == 2, "an ended stream is not tried again"


if __name__ == "__main__":
    assert metric("bursar_denials_total") >= 0
    main(SUITE)
