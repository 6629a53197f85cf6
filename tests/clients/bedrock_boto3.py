"""boto3 against the simulated Bedrock itself: what the gateway's tests rest on is what Amazon's own client speaks."""

import base64

import boto3
import botocore.auth
import botocore.config
import botocore.exceptions

from suite import SIM, case, get_json, main

SUITE = f"boto3 {boto3.__version__}"
KEY_ID, SECRET = "AKIASIMULATED", "sim-secret"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk")
HELLO = [{"role": "user", "content": [{"text": "Which shelf holds the atlases?"}]}]
SYSTEM = [{"text": "You are a librarian."}]
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "look_up",
                "description": "Looks a shelf up.",
                "inputSchema": {
                    "json": {
                        "type": "object",
                        "properties": {"subject": {"type": "string"}},
                        "required": ["subject"],
                    }
                },
            }
        }
    ]
}


def client(key_id=KEY_ID, secret=SECRET, token=None):
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=SIM,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries={"max_attempts": 0}, read_timeout=20),
    )


def bill():
    said = get_json(f"{SIM}/bill")
    return said["total_nano_usd"], said["calls"]


class Billed:
    """Within `with Billed() as billed`, counts calls and nano-dollars."""

    def __enter__(self):
        self.before = bill()
        return self

    def __exit__(self, *_):
        after = bill()
        self.nano, self.calls = after[0] - self.before[0], after[1] - self.before[1]


def text_of(answer):
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def nano(usage, card=(1_000, 100, 1_250, 2_000, 4_000)):
    """What a call costs at the default card, by hand: nano-dollars per token, but for rounding."""
    details = {detail["ttl"]: detail["inputTokens"] for detail in usage.get("cacheDetails", [])}
    hour = details.get("1h", 0)
    counts = (
        usage["inputTokens"],
        usage.get("cacheReadInputTokens", 0),
        usage.get("cacheWriteInputTokens", 0) - hour,
        hour,
        usage["outputTokens"],
    )
    return sum(count * price for count, price in zip(counts, card))


def event(stream, name):
    return [part[name] for part in stream if name in part]


@case
def plain():
    with Billed() as billed:
        answer = client().converse(
            modelId="sim-plain", messages=HELLO, system=SYSTEM, inferenceConfig={"maxTokens": 64}
        )
    assert text_of(answer)
    assert answer["stopReason"] in ("end_turn", "max_tokens")
    usage = answer["usage"]
    assert 0 < usage["outputTokens"] <= 64
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert (billed.calls, billed.nano) == (1, nano(usage))


@case
def streaming():
    with Billed() as billed:
        answer = client().converse_stream(modelId="sim-plain", messages=HELLO, system=SYSTEM)
        stream = list(answer["stream"])
    assert next(iter(stream[0])) == "messageStart" and next(iter(stream[-1])) == "metadata"
    deltas = event(stream, "contentBlockDelta")
    assert "".join(delta["delta"]["text"] for delta in deltas)
    assert event(stream, "messageStop")[0]["stopReason"] == "end_turn"
    usage = event(stream, "metadata")[0]["usage"]
    assert (billed.calls, billed.nano) == (1, nano(usage))


@case
def the_same_words_plain_and_streamed():
    asked = {"modelId": "sim-plain", "messages": HELLO, "inferenceConfig": {"maxTokens": 40}}
    whole = text_of(client().converse(**asked))
    stream = list(client().converse_stream(**asked)["stream"])
    pieces = [delta["delta"]["text"] for delta in event(stream, "contentBlockDelta")]
    assert "".join(pieces) == whole and len(pieces) > 1


@case
def tools_and_their_results():
    bedrock = client()
    messages = [*HELLO]
    answer = bedrock.converse(modelId="sim-tools", messages=messages, toolConfig=TOOLS)
    assert answer["stopReason"] == "tool_use"
    message = answer["output"]["message"]
    calls = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    assert calls and all(call["name"] == "look_up" and call["input"]["subject"] for call in calls)
    results = [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"shelf": 7}}]}}
        for call in calls
    ]
    messages += [message, {"role": "user", "content": results}]
    again = bedrock.converse(modelId="sim-plain", messages=messages, toolConfig=TOOLS)
    assert text_of(again)
    choice = {"tool": {"name": "look_up"}}
    stream = bedrock.converse_stream(
        modelId="sim-plain", messages=HELLO, toolConfig={**TOOLS, "toolChoice": choice}
    )
    stream = list(stream["stream"])
    starts = event(stream, "contentBlockStart")
    assert starts and all(start["start"]["toolUse"]["name"] == "look_up" for start in starts)
    assert event(stream, "messageStop")[0]["stopReason"] == "tool_use"


@case
def images_documents_and_forms():
    content = [
        {"text": "What is this?"},
        {"image": {"format": "png", "source": {"bytes": PIXEL}}},
        {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"Atlases."}}},
    ]
    bare = client().converse(modelId="sim-plain", messages=[{"role": "user", "content": content[:1]}])
    seen = client().converse(modelId="sim-plain", messages=[{"role": "user", "content": content}])
    assert seen["usage"]["inputTokens"] - bare["usage"]["inputTokens"] >= 765 + 1_500
    schema = '{"type":"object","properties":{"room":{"type":"string"}},"required":["room"]}'
    form = {"type": "json_schema", "structure": {"jsonSchema": {"name": "shelf", "schema": schema}}}
    answer = client().converse(modelId="sim-plain", messages=HELLO, outputConfig={"textFormat": form})
    assert '"room"' in text_of(answer)


@case
def cache_points():
    long = [{"text": "word " * 4_000}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    asked = {"modelId": "sim-plain", "messages": HELLO, "system": long}
    first, second = (client().converse(**asked)["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] > 1_000
    assert sum(part["inputTokens"] for part in first["cacheDetails"]) == first["cacheWriteInputTokens"]
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]


@case
def reasoning():
    asked = {
        "modelId": "sim-plain",
        "messages": HELLO,
        "inferenceConfig": {"maxTokens": 4_000},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
    }
    blocks = client().converse(**asked)["output"]["message"]["content"]
    assert blocks[0]["reasoningContent"]["reasoningText"]["signature"]
    stream = list(client().converse_stream(**asked)["stream"])
    deltas = [delta["delta"] for delta in event(stream, "contentBlockDelta")]
    thoughts = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert any("text" in thought for thought in thoughts) and "signature" in thoughts[-1]


def refusal(call, **asked):
    try:
        call(**{"modelId": "sim-plain", "messages": HELLO, **asked})
    except botocore.exceptions.ClientError as error:
        said = error.response
        return said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"], str(error)
    raise AssertionError("it was let in")


@case
def errors_have_their_names():
    bedrock = client()
    with Billed() as billed:
        for model, name, status in [
            ("sim-400", "ValidationException", 400),
            ("sim-429", "ThrottlingException", 429),
            ("sim-500", "InternalServerException", 500),
            ("sim-503", "ServiceUnavailableException", 503),
            ("missing-model", "ResourceNotFoundException", 404),
        ]:
            for call in (bedrock.converse, bedrock.converse_stream):
                assert refusal(call, modelId=model)[:2] == (name, status), model
        assert refusal(bedrock.converse, messages=[])[0] == "ValidationException"
    assert (billed.calls, billed.nano) == (0, 0)
    assert isinstance(bedrock.exceptions.ThrottlingException, type)


@case
def an_exception_in_mid_stream():
    stream = client().converse_stream(modelId="sim-error-event", messages=HELLO)["stream"]
    said = []
    try:
        for part in stream:
            said.append(part)
    except botocore.exceptions.EventStreamError as error:
        assert "modelStreamErrorException" in str(error), error
        assert event(said, "contentBlockDelta")
        return
    raise AssertionError("it ended well")


@case
def a_connection_that_drops():
    stream = client().converse_stream(modelId="sim-reset", messages=HELLO)["stream"]
    said = []
    try:
        for part in stream:
            said.append(part)
    except Exception:
        pass
    assert not event(said, "metadata"), "it was made whole"


@case
def who_may_call():
    with Billed() as billed:
        assert refusal(client(secret="other").converse)[0] == "InvalidSignatureException"
        assert refusal(client(key_id="AKIAOTHER").converse)[0] == "UnrecognizedClientException"
    assert billed.calls == 0
    # What was lent with a token is signed with it; ids with colons and slashes are signed as they are encoded.
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.sim-plain"
    assert text_of(client(token="lent/for=an+hour").converse(modelId=arn, messages=HELLO))


@case
def a_late_clock():
    bedrock = client()
    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *_, **__: real().replace(year=2020)
    try:
        name, status, said = refusal(bedrock.converse)
    finally:
        botocore.auth.get_current_datetime = real
    assert (name, status) == ("InvalidSignatureException", 403) and "Signature expired" in said


main(SUITE)
