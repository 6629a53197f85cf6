"""openai-python on a provider that speaks Anthropic's dialect, or with TARGET on one that speaks Gemini's; and its
Responses API on one that has chat alone."""

import asyncio
import os

import openai
import pydantic

from suite import CREW_KEY, GATEWAY, billed, books_agree, case, check_message, main, open_task

# The provider, which speaks one dialect.
TARGET = os.environ.get("TARGET", "anthropic")
DIALECT = {"anthropic": "anthropic-messages", "google": "gemini"}[TARGET]
SUITE = f"openai-python {openai.__version__} translated into {DIALECT}"
PREFIX = f"tr-{TARGET}-{openai.__version__.partition('.')[0]}"
HELLO = [
    {"role": "system", "content": "You are a librarian."},
    {"role": "user", "content": "Which shelf holds the atlases?"},
]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
LOOK_UP = {
    "name": "look_up",
    "description": "Looks a shelf up.",
    "parameters": {
        "type": "object",
        "properties": {"subject": {"type": "string"}},
        "required": ["subject"],
    },
}
TOOLS = [{"type": "function", "function": LOOK_UP}]


class Shelf(pydantic.BaseModel):
    room: str
    number: int


def client(task, kind=openai.OpenAI, **options):
    headers = {"x-bursar-task-id": f"{PREFIX}-{task}"}
    return kind(base_url=f"{GATEWAY}/v1", api_key=CREW_KEY, default_headers=headers, **options)


def model(name):
    return f"{TARGET}/{name}"


def anthropic_only(function):
    """A case of what that dialect cannot say, or of what no dialect of a target changes."""
    return case(function) if TARGET == "anthropic" else function


def chat_only(name):
    return f"plain/{name}"


@case
def plain():
    raw = client("plain").chat.completions.with_raw_response.create(
        model=model("sim-plain"), messages=HELLO, max_tokens=64, user="u-1"
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 64
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-bursar-translated"] == DIALECT
    assert float(raw.headers["x-bursar-cost-usd"]) > 0
    books_agree(f"{PREFIX}-plain", calls=1)


@anthropic_only
def no_output_cap():
    raw = client("open").chat.completions.with_raw_response.create(
        model=model("sim-plain"), messages=HELLO
    )
    assert raw.headers["x-bursar-output-cap"]
    books_agree(f"{PREFIX}-open", calls=1)


@case
def stream():
    answer = client("stream").chat.completions.create(
        model=model("sim-plain"), messages=HELLO, max_tokens=64, stream=True
    )
    chunks = list(answer)
    assert "".join(c.choices[0].delta.content or "" for c in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    books_agree(f"{PREFIX}-stream", calls=1)


@case
def stream_with_usage():
    answer = client("usage").chat.completions.create(
        model=model("sim-plain"),
        messages=HELLO,
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(answer)
    assert all(chunk.choices for chunk in chunks)
    assert last.choices == [] and last.usage.completion_tokens > 0 and last.usage.prompt_tokens > 0
    books_agree(f"{PREFIX}-usage", calls=1)


@case
def stream_left_in_the_middle_is_metered_in_full():
    answer = client("left").chat.completions.create(
        model=model("sim-plain"), messages=HELLO, max_tokens=256, stream=True
    )
    next(iter(answer))
    answer.close()
    books_agree(f"{PREFIX}-left", calls=1)


@case
def tools_and_their_results():
    ours, messages, asked = client("tools"), list(HELLO), 0
    for _ in range(3):
        answer = ours.chat.completions.create(
            model=model("sim-tools"), messages=messages, tools=TOOLS, max_tokens=256
        )
        message = answer.choices[0].message
        assert message.tool_calls and message.tool_calls[0].function.name == "look_up"
        assert answer.choices[0].finish_reason == "tool_calls"
        asked = max(asked, len(message.tool_calls))
        messages.append(message)
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": f"Room 2, shelf {asked}"}
            for call in message.tool_calls
        ]
    books_agree(f"{PREFIX}-tools", calls=3)


@case
def tools_in_a_stream():
    with client("tools-stream").chat.completions.stream(
        model=model("sim-tools"),
        messages=HELLO,
        tools=TOOLS,
        tool_choice="required",
        **({"parallel_tool_calls": False} if TARGET == "anthropic" else {}),
        max_tokens=256,
    ) as answer:
        final = answer.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert len(calls) == 1 or TARGET != "anthropic"
    assert calls[0].function.name == "look_up"
    assert "subject" in calls[0].function.arguments
    books_agree(f"{PREFIX}-tools-stream", calls=1)


@case
def images():
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    answer = client("images").chat.completions.create(
        model=model("sim-plain"),
        messages=[{"role": "user", "content": content}],
        max_tokens=64,
    )
    assert answer.choices[0].message.content
    books_agree(f"{PREFIX}-images", calls=1)


@case
def structured_output():
    answer = client("structured").chat.completions.parse(
        model=model("sim-plain"), messages=HELLO, response_format=Shelf, max_tokens=512
    )
    assert isinstance(answer.choices[0].message.parsed, Shelf)
    with client("structured").chat.completions.stream(
        model=model("sim-plain"), messages=HELLO, response_format=Shelf, max_tokens=512
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Shelf)
    books_agree(f"{PREFIX}-structured", calls=2)


@case
async def asynchronous_calls_at_once():
    async with client("async", kind=openai.AsyncOpenAI) as ours:
        calls = [
            ours.chat.completions.create(model=model("sim-plain"), messages=HELLO, max_tokens=32)
            for _ in range(12)
        ]
        answers = await asyncio.gather(*calls)
    assert all(answer.choices[0].message.content for answer in answers)
    books_agree(f"{PREFIX}-async", calls=12)


@anthropic_only
def what_cannot_be_carried_is_refused_by_name():
    try:
        client("seed").chat.completions.create(
            model=model("sim-plain"), messages=HELLO, max_tokens=9, seed=4
        )
    except openai.BadRequestError as error:
        assert error.code == "invalid_request" and "`seed`" in error.message, error.body
    else:
        raise AssertionError("a seed went where none is taken")
    assert billed(f"{PREFIX}-seed") == (0, 0)


@case
def turns_run_out():
    open_task(f"{PREFIX}-turns", turns=1)
    ours = client("turns")
    ours.chat.completions.create(model=model("sim-plain"), messages=HELLO, max_tokens=32)
    try:
        ours.chat.completions.create(model=model("sim-plain"), messages=HELLO, max_tokens=32)
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (402, "turns_exceeded"), error.body
        check_message(error.message)
    else:
        raise AssertionError("the second turn was not refused")
    books_agree(f"{PREFIX}-turns", calls=1)


@case
def errors_of_the_provider():
    ours = client("errors", max_retries=0)
    kinds = {"sim-400": openai.BadRequestError, "sim-429": openai.RateLimitError}
    kinds["sim-529"] = openai.InternalServerError
    for name, kind in kinds.items():
        try:
            ours.chat.completions.create(model=model(name), messages=HELLO, max_tokens=9)
        except kind as error:
            assert error.body["message"] and error.body["type"], error.body
        else:
            raise AssertionError(f"{name}: the provider's error was lost")
    try:
        list(
            ours.chat.completions.create(
                model=model("sim-error-event"), messages=HELLO, max_tokens=64, stream=True
            )
        )
    except openai.APIError as error:
        assert "verloaded" in error.message, error
    else:
        raise AssertionError("an error in mid-stream was lost")


@anthropic_only
def responses():
    raw = client("responses").responses.with_raw_response.create(
        model=chat_only("sim-plain"),
        input=[
            {"role": "user", "content": [
                {"type": "input_text", "text": "Which shelf?"},
                {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
            ]}
        ],
        instructions="Be brief.",
        max_output_tokens=64,
    )
    answer = raw.parse()
    assert answer.output_text and answer.status in ("completed", "incomplete")
    assert answer.usage.output_tokens > 0 and answer.usage.input_tokens > 0
    assert raw.headers["x-bursar-translated"] == "openai-chat"
    books_agree(f"{PREFIX}-responses", calls=1)


@anthropic_only
def responses_stream():
    with client("responses-stream").responses.stream(
        model=chat_only("sim-plain"), input="Which shelf?", max_output_tokens=64
    ) as stream:
        events = list(stream)
        final = stream.get_final_response() if events[-1].type == "response.completed" else None
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas and events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.usage.output_tokens > 0
    assert events[-1].response.output[0].content[0].text == "".join(deltas)
    assert final is None or final.output_text == "".join(deltas)
    books_agree(f"{PREFIX}-responses-stream", calls=1)


@anthropic_only
def responses_tools_and_their_results():
    ours, said = client("responses-tools"), [{"role": "user", "content": "Which shelf?"}]
    tools = [{"type": "function", **LOOK_UP, "strict": None}]
    for turn in range(2):
        answer = ours.responses.create(
            model=chat_only("sim-tools"), input=said, tools=tools, max_output_tokens=256
        )
        calls = [item for item in answer.output if item.type == "function_call"]
        assert calls and calls[0].name == "look_up"
        said += answer.output
        said += [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"shelf {turn}"}
            for call in calls
        ]
    with ours.responses.stream(
        model=chat_only("sim-tools"), input=said, tools=tools, max_output_tokens=256
    ) as stream:
        final = stream.get_final_response()
    assert any(item.type == "function_call" for item in final.output)
    books_agree(f"{PREFIX}-responses-tools", calls=3)


@anthropic_only
def responses_structured_output():
    answer = client("responses-structured").responses.parse(
        model=chat_only("sim-plain"), input="Which shelf?", text_format=Shelf, max_output_tokens=512
    )
    assert isinstance(answer.output_parsed, Shelf)
    books_agree(f"{PREFIX}-responses-structured", calls=1)


@anthropic_only
def responses_that_go_on_from_a_stored_one_are_refused_by_name():
    try:
        client("stored").responses.create(
            model=chat_only("sim-plain"), input="And?", previous_response_id="resp_1"
        )
    except openai.BadRequestError as error:
        assert "`previous_response_id`" in error.message, error.body
    else:
        raise AssertionError("a stored answer was asked of a server that has none")


if __name__ == "__main__":
    main(SUITE)
