"""anthropic-python on a provider that speaks OpenAI's dialect."""

import asyncio
import json

import anthropic
import pydantic

from suite import CREW_KEY, GATEWAY, billed, books_agree, case, check_message, main, open_task

HELLO = [{"role": "user", "content": "Which shelf holds the atlases?"}]
SYSTEM = "You are a librarian."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
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
ASK = {"model": "openai/sim-plain", "system": SYSTEM, "messages": HELLO, "max_tokens": 64}
ASK_TOOLS = {**ASK, "model": "openai/sim-tools", "tools": TOOLS, "max_tokens": 256}


class Shelf(pydantic.BaseModel):
    room: str
    number: int


def client(task, kind=anthropic.Anthropic, **options):
    headers = {"x-bursar-task-id": f"tran-{task}"}
    return kind(base_url=GATEWAY, api_key=CREW_KEY, default_headers=headers, **options)


@case
def plain():
    raw = client("plain").messages.with_raw_response.create(**ASK, metadata={"user_id": "u-1"})
    answer = raw.parse()
    assert answer.type == "message" and answer.role == "assistant"
    assert answer.content[0].text and 0 < answer.usage.output_tokens <= 64
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert raw.headers["x-bursar-translated"] == "openai-chat"
    assert float(raw.headers["x-bursar-cost-usd"]) > 0
    books_agree("tran-plain", calls=1)


@case
def stream():
    with client("stream").messages.stream(**ASK) as answer:
        text = "".join(answer.text_stream)
        final = answer.get_final_message()
    assert text and final.content[0].text == text
    assert final.usage.output_tokens > 0 and final.usage.input_tokens > 0
    assert final.stop_reason in ("end_turn", "max_tokens")
    books_agree("tran-stream", calls=1)


@case
def raw_stream_left_in_the_middle_is_metered_in_full():
    answer = client("left").messages.create(**{**ASK, "max_tokens": 256}, stream=True)
    next(iter(answer))
    answer.close()
    books_agree("tran-left", calls=1)


@case
def tools_and_their_results():
    ours, messages = client("tools"), list(HELLO)
    for turn in range(3):
        answer = ours.messages.create(**{**ASK_TOOLS, "messages": messages})
        used = [block for block in answer.content if block.type == "tool_use"]
        assert used and used[0].name == "look_up" and answer.stop_reason == "tool_use"
        assert isinstance(used[0].input["subject"], str)
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block.id,
                "content": [{"type": "text", "text": f"Room 2, shelf {turn}"}],
                "is_error": turn == 1,
            }
            for block in used
        ]
        messages.append({"role": "assistant", "content": answer.content})
        messages.append({"role": "user", "content": results})
    books_agree("tran-tools", calls=3)


@case
def tools_in_a_stream():
    choice = {"type": "any", "disable_parallel_tool_use": True}
    with client("tools-stream").messages.stream(**ASK_TOOLS, tool_choice=choice) as answer:
        kinds = [event.type for event in answer]
        final = answer.get_final_message()
    used = [block for block in final.content if block.type == "tool_use"]
    assert len(used) == 1 and isinstance(used[0].input["subject"], str)
    assert "input_json" in kinds and kinds[-1] == "message_stop"
    books_agree("tran-tools-stream", calls=1)


@case
def images():
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    answer = client("images").messages.create(
        **{**ASK, "messages": [{"role": "user", "content": content}]}
    )
    assert answer.content[0].text
    books_agree("tran-images", calls=1)


@case
def structured_output():
    schema = Shelf.model_json_schema() | {"additionalProperties": False}
    form = {"format": {"type": "json_schema", "schema": schema}}
    ours = client("structured")
    answer = ours.messages.create(**{**ASK, "max_tokens": 512}, output_config=form)
    Shelf.model_validate(json.loads(answer.content[0].text))
    with ours.messages.stream(**{**ASK, "max_tokens": 512}, output_config=form) as stream:
        Shelf.model_validate_json("".join(stream.text_stream))
    books_agree("tran-structured", calls=2)


@case
def cache_marks_are_left_out_and_that_is_said():
    system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    raw = client("cache").messages.with_raw_response.create(**{**ASK, "system": system})
    assert raw.headers["x-bursar-dropped"] == "cache_control"
    books_agree("tran-cache", calls=1)


@case
async def asynchronous_calls_at_once():
    async with client("async", kind=anthropic.AsyncAnthropic) as ours:
        answers = await asyncio.gather(*(ours.messages.create(**ASK) for _ in range(12)))
    assert all(answer.content[0].text for answer in answers)
    books_agree("tran-async", calls=12)


@case
def what_cannot_be_carried_is_refused_by_name():
    try:
        client("top-k").messages.create(**ASK, extra_body={"top_k": 4})
    except anthropic.BadRequestError as error:
        told = error.body["error"]
        assert told["code"] == "invalid_request" and "`top_k`" in told["message"], error.body
    else:
        raise AssertionError("top_k went where none is taken")
    assert billed("tran-top-k") == (0, 0)


@case
def turns_run_out():
    open_task("tran-turns", turns=1)
    ours = client("turns")
    ours.messages.create(**ASK)
    try:
        ours.messages.create(**ASK)
    except anthropic.PaymentRequiredError as error:
        told = error.body["error"]
        assert (told["type"], told["code"]) == ("billing_error", "turns_exceeded"), error.body
        check_message(told["message"])
    else:
        raise AssertionError("the second turn was not refused")
    books_agree("tran-turns", calls=1)


@case
def errors_of_the_provider():
    ours = client("errors", max_retries=0)
    kinds = {
        "sim-400": (anthropic.BadRequestError, "invalid_request_error"),
        "sim-429": (anthropic.RateLimitError, "rate_limit_error"),
        "sim-500": (anthropic.InternalServerError, "api_error"),
    }
    for name, (kind, word) in kinds.items():
        try:
            ours.messages.create(**{**ASK, "model": f"openai/{name}"})
        except kind as error:
            assert error.body["error"]["type"] == word, error.body
        else:
            raise AssertionError(f"{name}: the provider's error was lost")
    try:
        with ours.messages.stream(**{**ASK, "model": "openai/sim-error-event"}) as stream:
            stream.get_final_message()
    except anthropic.APIStatusError as error:
        assert error.body["type"] == "error", error.body
    else:
        raise AssertionError("an error in mid-stream was lost")


@case
def a_count_of_tokens_is_an_estimate_that_says_so():
    ours = client("count").messages
    raw = ours.with_raw_response.count_tokens(model="openai/sim-plain", messages=HELLO)
    assert raw.headers["x-bursar-estimated"] == "input_tokens", raw.headers
    assert 0 < raw.parse().input_tokens < 100, raw.parse()


if __name__ == "__main__":
    main(f"anthropic-python {anthropic.__version__} translated")
