"""OpenAI's Python client drives a hub: ATOLL_URL, ATOLL_API_KEY, model "coral"."""

import json
import os
import time

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


def batches():
    ask = dict(model="coral", prompt=prompt, max_tokens=20, temperature=0)
    rows = [dict(custom_id=f"request {i}", method="POST", url="/v1/completions", body=ask | dict(n=1 + i % 3, seed=i, temperature=i % 2)) for i in range(40)]
    rows[7]["body"]["prompt"] = "one day " * 600  # over the model's context
    source = client.files.create(file=("requests.jsonl", "\n".join(map(json.dumps, rows)).encode()), purpose="batch")
    assert source.bytes > 0 and client.files.retrieve(source.id) == source and source.id in [f.id for f in client.files.list(purpose="batch")]
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/completions", completion_window="24h", metadata={"for": "a test"})
    client.files.delete(source.id)  # what has begun goes on
    while batch.status == "in_progress":
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.metadata == {"for": "a test"}, batch
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (40, 39, 1), batch
    output = client.files.content(batch.output_file_id).text
    assert client.files.retrieve(batch.output_file_id).bytes == len(output.encode())
    answers = {a["custom_id"]: a["response"] for a in map(json.loads, output.splitlines())}
    assert list(answers) == [r["custom_id"] for r in rows if r is not rows[7]]
    for row in rows[:7]:  # as if asked one by one
        same = client.completions.create(**row["body"])
        batched = answers[row["custom_id"]]["body"]
        assert [c.text for c in same.choices] == [c["text"] for c in batched["choices"]], row
        assert same.usage.to_dict() == batched["usage"], row
    (failure,) = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
    assert failure["custom_id"] == "request 7" and failure["response"]["body"]["error"]["code"] == "context_length_exceeded", failure
    assert client.batches.list(limit=1).data[0].id == batch.id
    vectors = [dict(custom_id=str(i), method="POST", url="/v1/embeddings", body=dict(model="coral", input=["The cat", f"The dog {i}"])) for i in range(3)]
    source = client.files.create(file=("texts.jsonl", "\n".join(map(json.dumps, vectors)).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/embeddings", completion_window="1h", extra_body={"atoll": {"split": {"lines": 1}}})
    while batch.status == "in_progress":
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    last = json.loads(client.files.content(batch.output_file_id).text.splitlines()[-1])
    same = client.embeddings.create(model="coral", input=["The cat", "The dog 2"], encoding_format="float")
    assert [d["embedding"] for d in last["response"]["body"]["data"]] == [d.embedding for d in same.data], last


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
    fails(openai.NotFoundError, lambda: client.files.retrieve("file-none"))
    fails(openai.BadRequestError, lambda: client.files.create(file=b"{}", purpose="fine-tune"), param="purpose")
    source = client.files.create(file=("bad.jsonl", b'{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"model":"coral","prompt":"x","stream":true}}'), purpose="batch")
    fails(openai.BadRequestError, lambda: client.batches.create(input_file_id=source.id, endpoint="/v1/completions", completion_window="24h"), param="input_file_id")
    assert client.files.delete(source.id).deleted


for check in (models, completions, chat, embeddings, batches, errors):
    check()
    print(check.__name__, "ok")
