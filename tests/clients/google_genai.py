"""google-genai on the simulated providers themselves: they are as Google's own client expects Google to be."""

import base64
import subprocess

import google.auth.exceptions
import google.genai
import google.oauth2.credentials
import pydantic
from google.genai import errors, types
from google.oauth2 import service_account

from suite import SIM, billed, case, get_json, main

SUITE = f"google-genai {google.genai.__version__}"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk")
# A client that nobody holds is closed, also under its own `models`.
CLIENTS = []
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Shelf(pydantic.BaseModel):
    room: str
    number: int


def options(task, retries=1, **more):
    headers = {"x-sim-task": f"gg-{task}"}
    retry = types.HttpRetryOptions(attempts=retries)
    return types.HttpOptions(base_url=SIM, headers=headers, timeout=20_000, retry_options=retry, **more)


def client(task, **more):
    return held(google.genai.Client(api_key="sk-sim-google", http_options=options(task, **more)))


def held(made):
    CLIENTS.append(made)
    return made


def key_file(name):
    """A service account's key file, with a key made here and a token endpoint that is simulated."""
    made = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    key = subprocess.run(made, check=True, capture_output=True, text=True).stdout
    return {
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "k1",
        "private_key": key,
        "client_email": f"{name}@p-1.iam.gserviceaccount.com",
        "token_uri": f"{SIM}/token",
    }


def on_vertex(task, name="agents"):
    credentials = service_account.Credentials.from_service_account_info(key_file(name), scopes=[SCOPE])
    place = {"project": "p-1", "location": "europe-west4"}
    return held(google.genai.Client(vertexai=True, credentials=credentials, http_options=options(task), **place))


def counted(answer, task, calls=1):
    """The answer's own counts are what was billed."""
    usage = answer.usage_metadata
    assert usage.prompt_token_count > 0
    produced = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    assert usage.total_token_count == usage.prompt_token_count + produced
    line = get_json(f"{SIM}/bill")["by_task"][f"gg-{task}"]
    assert line["calls"] == calls, line
    if calls == 1:
        assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_token_count, produced), line
    return usage


@case
def plain():
    answer = client("plain").models.generate_content(
        model="sim-plain",
        contents="Which shelf holds the atlases?",
        config=types.GenerateContentConfig(
            system_instruction="You are a librarian.",
            max_output_tokens=64,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            seed=7,
            stop_sequences=["END"],
            safety_settings=[
                types.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_ONLY_HIGH")
            ],
        ),
    )
    assert answer.text
    assert answer.candidates[0].finish_reason in ("STOP", "MAX_TOKENS")
    assert answer.model_version == "sim-plain" and answer.response_id
    assert counted(answer, "plain").candidates_token_count <= 64


@case
def a_cap_ends_an_answer():
    config = types.GenerateContentConfig(max_output_tokens=16)
    answer = client("cap").models.generate_content(model="sim-greedy", contents="Go on.", config=config)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert counted(answer, "cap").candidates_token_count == 16


@case
def stream():
    chunks = list(client("stream").models.generate_content_stream(model="sim-plain", contents="Tell me."))
    assert len(chunks) > 2
    assert "".join(chunk.text or "" for chunk in chunks)
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert all(chunk.response_id == chunks[0].response_id for chunk in chunks)
    counted(chunks[-1], "stream")


@case
async def asynchronous_stream():
    answer = await client("async").aio.models.generate_content_stream(model="sim-plain", contents="Tell me.")
    chunks = [chunk async for chunk in answer]
    assert "".join(chunk.text or "" for chunk in chunks)
    counted(chunks[-1], "async")


@case
def a_chat_goes_on():
    chat = client("chat").chats.create(model="sim-plain")
    first = chat.send_message("Hello.")
    second = chat.send_message("And now?")
    assert second.usage_metadata.prompt_token_count > first.usage_metadata.prompt_token_count
    counted(second, "chat", calls=2)


LOOK_UP = types.FunctionDeclaration(
    name="look_up",
    description="Looks a shelf up.",
    parameters_json_schema={
        "type": "object",
        "properties": {"subject": {"type": "string"}},
        "required": ["subject"],
    },
)


@case
def tools_by_hand():
    talk = client("tools").models
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[LOOK_UP])])
    contents = [types.UserContent("Please use a tool.")]
    for streamed in (False, True):
        if streamed:
            parts = []
            for chunk in talk.generate_content_stream(model="sim-plain", contents=contents, config=config):
                parts += chunk.candidates[0].content.parts
        else:
            parts = talk.generate_content(model="sim-plain", contents=contents, config=config).candidates[0].content.parts
        calls = [part.function_call for part in parts if part.function_call]
        assert calls and all(call.name == "look_up" and call.args["subject"] for call in calls)
        assert parts[0].thought_signature
        contents.append(types.ModelContent([part for part in parts if part.function_call]))
        results = [types.Part.from_function_response(name=c.name, response={"result": "4"}) for c in calls]
        contents.append(types.UserContent(results))
        contents.append(types.UserContent("Please use a tool once more."))


@case
def tools_called_by_the_client():
    asked = []

    def look_up(subject: str) -> str:
        """Looks a shelf up.

        Args:
            subject: What the books are about.
        """
        asked.append(subject)
        return "shelf 4"

    config = types.GenerateContentConfig(tools=[look_up])
    answer = client("called").models.generate_content(
        model="sim-plain", contents="Please use a tool.", config=config
    )
    assert asked and answer.text
    history = answer.automatic_function_calling_history
    assert any(part.function_response for content in history for part in content.parts)


@case
def a_tool_that_must_be_used():
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[LOOK_UP])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["look_up"])
        ),
    )
    answer = client("must").models.generate_content(model="sim-plain", contents="Hello.", config=config)
    assert answer.function_calls[0].name == "look_up"


@case
def an_image_counts():
    ask = client("image").models.count_tokens
    text = ask(model="sim-plain", contents=["What is this?"]).total_tokens
    image = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    both = ask(model="sim-plain", contents=[image, "What is this?"]).total_tokens
    assert both > text + 100
    answer = client("image").models.generate_content(model="sim-plain", contents=[image, "What is this?"])
    assert counted(answer, "image").prompt_token_count == both


@case
def a_form_of_answer():
    for name, form in {
        "response_schema": Shelf,
        "response_json_schema": Shelf.model_json_schema(),
    }.items():
        config = types.GenerateContentConfig(response_mime_type="application/json", **{name: form})
        answer = client(name).models.generate_content(model="sim-plain", contents="Which?", config=config)
        shelf = Shelf.model_validate_json(answer.text)
        assert shelf.room and isinstance(shelf.number, int)
        if name == "response_schema":
            assert answer.parsed == shelf


@case
def thoughts():
    config = types.GenerateContentConfig(
        thinking_config=types.ThinkingConfig(thinking_budget=64, include_thoughts=True)
    )
    answer = client("thoughts").models.generate_content(model="sim-plain", contents="Hm?", config=config)
    parts = answer.candidates[0].content.parts
    assert parts[0].thought and parts[0].text and not parts[1].thought
    assert counted(answer, "thoughts").thoughts_token_count > 0
    unseen = client("unseen").models.generate_content(model="sim-reasoning", contents="Hm?")
    assert counted(unseen, "unseen").thoughts_token_count > 0
    assert not any(part.thought for part in unseen.candidates[0].content.parts)


@case
def a_prompt_seen_before_is_cached():
    talk = client("cache").models
    contents = "The atlas says: " + "so it is. " * 1_000
    first = talk.generate_content(model="sim-plain", contents=contents).usage_metadata
    again = talk.generate_content(model="sim-plain", contents=contents).usage_metadata
    assert not first.cached_content_token_count
    assert 1_000 < again.cached_content_token_count <= again.prompt_token_count == first.prompt_token_count


@case
def refusals():
    talk = client("errors").models
    for model, code, status in [
        ("sim-400", 400, "INVALID_ARGUMENT"),
        ("sim-429", 429, "RESOURCE_EXHAUSTED"),
        ("missing-model", 404, "NOT_FOUND"),
        ("sim-500", 500, "INTERNAL"),
        ("sim-503", 503, "UNAVAILABLE"),
    ]:
        kind = errors.ClientError if code < 500 else errors.ServerError
        for streamed in (False, True):
            try:
                if streamed:
                    list(talk.generate_content_stream(model=model, contents="Hi."))
                else:
                    talk.generate_content(model=model, contents="Hi.")
            except kind as error:
                assert (error.code, error.status) == (code, status), error
                assert error.message
            else:
                raise AssertionError(f"{model} answered")
    assert billed("gg-errors") == (0, 0)


@case
def what_is_wrong_is_told():
    talk = client("wrong").models
    for config in [
        types.GenerateContentConfig(temperature=3),
        types.GenerateContentConfig(candidate_count=2),
        types.GenerateContentConfig(max_output_tokens=10_000_000),
        types.GenerateContentConfig(response_json_schema={"type": "object"}),
    ]:
        try:
            talk.generate_content(model="sim-plain", contents="Hi.", config=config)
        except errors.ClientError as error:
            assert error.status == "INVALID_ARGUMENT"
        else:
            raise AssertionError(f"{config} was taken")


@case
def an_error_in_mid_stream():
    chunks = []
    try:
        for chunk in client("broken").models.generate_content_stream(model="sim-error-event", contents="Go."):
            chunks.append(chunk)
    except errors.APIError as error:
        assert error.code == 503
    else:
        assert not chunks[-1].candidates or not chunks[-1].candidates[0].finish_reason
    assert billed("gg-broken")[1] == 1


@case
def vertex_with_a_service_account():
    talk = on_vertex("vertex").models
    answer = talk.generate_content(model="sim-plain", contents="Hello.")
    assert answer.text
    counted(answer, "vertex")
    chunks = list(talk.generate_content_stream(model="sim-plain", contents="Hello."))
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert billed("gg-vertex")[1] == 2


@case
def vertex_refuses_ids_of_calls():
    call = types.Part(function_call=types.FunctionCall(id="c1", name="look_up", args={}))
    result = types.Part(function_response=types.FunctionResponse(id="c1", name="look_up", response={}))
    contents = [types.UserContent("Hi."), types.ModelContent([call]), types.UserContent([result])]
    assert client("ids").models.generate_content(model="sim-plain", contents=contents).text
    try:
        on_vertex("ids").models.generate_content(model="sim-plain", contents=contents)
    except errors.ClientError as error:
        assert 'Unknown name "id"' in error.message
    else:
        raise AssertionError("taken")


@case
def vertex_without_a_token():
    credentials = google.oauth2.credentials.Credentials("ya29.nobody-gave-this")
    place = {"project": "p-1", "location": "europe-west4"}
    talk = held(google.genai.Client(vertexai=True, credentials=credentials, http_options=options("nobody"), **place))
    try:
        talk.models.generate_content(model="sim-plain", contents="Hi.")
    except errors.ClientError as error:
        assert (error.code, error.status) == (401, "UNAUTHENTICATED"), error
    else:
        raise AssertionError("taken")
    try:
        on_vertex("nobody", "broken").models.generate_content(model="sim-plain", contents="Hi.")
    except google.auth.exceptions.RefreshError as error:
        assert "invalid_grant" in str(error)
    else:
        raise AssertionError("a token was given")


if __name__ == "__main__":
    main(SUITE)
