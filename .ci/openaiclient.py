"""OpenAI's Python client drives a hub: ATOLL_URL, ATOLL_API_KEY, model "coral"."""

import json
import os

import openai

client = openai.OpenAI(base_url=os.environ["ATOLL_URL"] + "/v1", api_key=os.environ["ATOLL_API_KEY"], max_retries=0)
chatml = {"atoll": {"params": {"template": "chatml"}}}
prompt = "Once upon a time"


def models():
    rows = {m.id: m for m in client.models.list()}
    assert rows["coral@1"].object == "model", rows
    assert client.models.retrieve("coral").id == "coral@1"


def completions():
    whole = client.completions.create(model="coral", prompt=prompt, max_tokens=40, temperature=0, logprobs=2)
    text = whole.choices[0].text
    assert text.startswith(" of the world, and"), text
    assert "".join(whole.choices[0].logprobs.tokens) == text
    assert whole.usage.completion_tokens == 40 and whole.choices[0].finish_reason == "length", whole
    stream = client.completions.create(model="coral", prompt=prompt, max_tokens=40, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in stream) == text
    stopped = client.completions.create(model="coral", prompt=prompt, max_tokens=40, temperature=0, stop=[" future"])
    assert stopped.choices[0].text == text[: text.index(" future")] and stopped.choices[0].finish_reason == "stop", stopped


def chat():
    ask = dict(model="coral", messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=20, seed=3, n=2, logprobs=True, top_logprobs=1, extra_body=chatml)
    whole = client.chat.completions.create(**ask)
    assert len(whole.choices) == 2 and whole.choices[0].message.role == "assistant", whole
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 1
    said, usage, tokens = ["", ""], None, [0, 0]
    for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        for c in chunk.choices:
            said[c.index] += c.delta.content or ""
            tokens[c.index] += len(c.logprobs.content) if c.logprobs else 0
        usage = chunk.usage or usage
    assert said == [c.message.content for c in whole.choices], (said, whole)
    assert usage == whole.usage, usage
    with client.chat.completions.stream(model="coral", messages=ask["messages"], max_tokens=10, temperature=0, extra_body=chatml) as stream:
        told = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.current_completion_snapshot
    assert final.choices[0].finish_reason == "length" and final.choices[0].message.content == told, final
    schema = {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}}, "required": ["animal"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    held = client.chat.completions.create(model="coral", messages=ask["messages"], max_tokens=40, response_format=form, extra_body=chatml)
    assert json.loads(held.choices[0].message.content)["animal"] in ("cat", "dog"), held


def embeddings():
    plain = client.embeddings.create(model="coral", input=["The cat", "The dog"], encoding_format="float")
    packed = client.embeddings.create(model="coral", input=["The cat", "The dog"])  # the client asks for base64
    for a, b in zip(plain.data, packed.data, strict=True):  # decimals of binary32 numbers, and the numbers themselves
        assert all(abs(x - y) < 1e-7 for x, y in zip(a.embedding, b.embedding, strict=True)), (a, b)
    assert abs(sum(x * x for x in plain.data[0].embedding) - 1) < 1e-5
    assert plain.usage.prompt_tokens > 0


def errors():
    def fails(kind, call, **expected):
        try:
            call()
        except kind as e:
            for name, value in expected.items():
                assert getattr(e, name) == value, (name, e.body)
            assert e.request_id
        else:
            raise AssertionError(f"no {kind.__name__}")

    bad = openai.OpenAI(base_url=client.base_url, api_key="nobody", max_retries=0)
    fails(openai.AuthenticationError, lambda: bad.completions.create(model="coral", prompt="x"), code="invalid_api_key")
    fails(openai.NotFoundError, lambda: client.completions.create(model="none", prompt="x"), code="model_not_found", param="model")
    fails(openai.BadRequestError, lambda: client.completions.create(model="coral", prompt="one day " * 600), code="context_length_exceeded")
    fails(openai.BadRequestError, lambda: client.completions.create(model="coral", prompt="x", echo=True), param="echo")
    tools = [{"type": "function", "function": {"name": "f"}}]
    fails(openai.BadRequestError, lambda: client.chat.completions.create(model="coral", messages=[{"role": "user", "content": "x"}], tools=tools), param="tools")
    fails(openai.NotFoundError, lambda: client.models.retrieve("none"))


for check in (models, completions, chat, embeddings, errors):
    check()
    print(check.__name__, "ok")
