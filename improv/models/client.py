"""One client for every model: a backend is a URL that speaks the OpenAI API, or a puppet.

The openai client repeats failed attempts; this module only counts them. The module builds the
request body itself and reads the reply as JSON, because the typed `chat.completions.create` walks
the types of every message, which takes three times the CPU of a whole turn. Each attempt passes
the endpoint's gate, and a call that waits for its next attempt takes no place there.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import httpx2
import openai
import orjson

from improv.errors import ErrorKind, MachineError, ModelError, folder_unwritable
from improv.models.adapting import Adapter, Request
from improv.models.agreed import NOTHING_AGREED, Agreed
from improv.models.batches import Batches, BatchRecord, batch_client
from improv.models.budget import Allowance, call_spending
from improv.models.delivery import PromptGauge, model_fault
from improv.models.endpoint import (
    client_options,
    connection_dropped,
    public_address,
    remote_address,
    status_error,
)
from improv.models.final_error import final_error
from improv.models.gate import Gate
from improv.models.given_scorer import (
    EMBEDDED_SCORING,
    PUPPET_SCORING,
    GivenScorer,
    Scoring,
    Send,
    sender,
)
from improv.models.manners import ADAPTED
from improv.models.manners_keeper import Keeper, Place
from improv.models.puppet.player import answer
from improv.models.reasoning import reasoning_text, reasoning_tokens
from improv.models.redaction import Redactor, known_keys
from improv.models.request import Ask, request_body
from improv.models.response import Reply, read_response
from improv.models.transport import Client, Trip, Wire
from improv.models.turnstile import Turnstile
from improv.models.usage import Usage
from improv.records import Block, Call, Draw, Json, ReplyFault
from improv.study.model_spec import Model, Price
from improv.study.puppet_spec import Puppet

_UNLIMITED = 1_000_000
_NO_REPLY = Reply("", "error")


class Models:
    """Makes calls to every endpoint that a batch of scenes needs, with one client for each.

    `embedded_url` returns the address at which this machine serves a model, by its name or path.
    `new_gate` makes the gate of an endpoint at the first call to it. Without `new_gate`, up to
    `connections` attempts may be in flight to each endpoint. Nothing is sent to an address that is
    not `agreed`. `manners` keeps what is learned of each model, for all hosts of a run. With
    `batches`, which records them, calls to remote endpoints are sent in batches. `answered_before`
    says whether an endpoint has answered a call of an earlier session.
    """

    def __init__(
        self,
        embedded_url: Callable[[str], Awaitable[str]] | None = None,
        connections: int = 64,
        new_gate: Callable[[str], Gate] | None = None,
        agreed: Agreed = NOTHING_AGREED,
        manners: Keeper | None = None,
        batches: BatchRecord | None = None,
        answered_before: Callable[[str], bool] | None = None,
    ) -> None:
        self._adapter = Adapter(manners)
        self._scorer = GivenScorer(manners)
        self._embedded_url = embedded_url
        self._connections = connections
        self._new_gate = new_gate
        self._agreed = agreed
        self._batch_record = batches
        self._batches: dict[tuple[str, str, str, str], Batches] = {}
        self._answered_before = answered_before
        self._redactor: Redactor | None = None
        self._clients: dict[tuple[str, str, float, int], Client] = {}
        self._gates: dict[str, Gate] = {}
        self._urls: dict[str, str] = {}
        self._halted = asyncio.Event()
        self.turnstile = Turnstile()
        self.halted_by: ModelError | None = None
        """The error that every further draw of a scene raises after `halt`; None before."""

    async def complete(self, ask: Ask) -> Call:
        """Make the call and return it. If it fails for good, its `error` is set; nothing is raised.

        If the ask has a given text, the reply is the log-probability of it (`given_text`).
        """
        started = time.time()
        clock = time.perf_counter()
        trip = Trip()
        request = Request(ask, trip, request_body(ask) if ask.given is None else _unwritten(ask))
        response: Json = {}
        reply = _NO_REPLY
        kind, error = ErrorKind.NONE, ""
        endpoint = "puppet"
        try:
            if ask.model.in_process:
                spec = ask.model.puppet or Puppet()
                if spec.latency:
                    await asyncio.sleep(spec.latency)
                response = await self._answer_in_process(request, spec)
            else:
                url = await self.address(ask.model)
                endpoint = public_address(url)
                response = await self._post(url, request)
            reply = read_response(response)
            if (text := _cut_at_stop(reply.text, request)) != reply.text:
                reply = replace(reply, text=text)
        except ModelError as e:
            kind, error = e.kind, str(e)
        except MachineError as e:
            # This machine cannot serve the model, so no other call to it can succeed either.
            kind, error = ErrorKind.MODEL, str(e)
        usage = Usage.of(response, ask, reply.text)
        return Call(
            draw=ask.draw,
            model=ask.model.model,
            endpoint=endpoint,
            mode=ask.prompt.mode,
            params=_params(request),
            blocks=ask.prompt.blocks,
            reply=reply.text,
            finish_reason=reply.finish,
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            cached_tokens=usage.cached,
            started=started,
            latency=time.perf_counter() - clock - trip.waited,
            retries=len(trip.retried),
            error_kind=kind,
            error=error,
            waited=trip.waited,
            retried=trip.retried,
            served=_served(response),
            estimated=usage.estimated,
            reasoning=reasoning_text(response),
            reasoning_tokens=reasoning_tokens(response),
            faults=(*reply.faults, *model_fault(ask, response)),
            cuts=reply.cuts,
        )

    async def address(self, model: Model) -> str:
        """Return the base URL of `model`. Raises MachineError if this machine should serve it and
        does not."""
        if not model.embedded:
            return remote_address(model)
        if model.model not in self._urls:
            if self._embedded_url is None:
                raise MachineError("the embedded model is not being served here")
            self._urls[model.model] = await self._embedded_url(model.model)
        return self._urls[model.model]

    def halt(self, error: ModelError | None = None) -> None:
        """Send no further request. Requests in flight may finish; a call that waits for its next
        attempt fails.

        Further draws of a scene raise `error`; of several calls of this method, the first error.
        """
        self.halted_by = self.halted_by or error
        self._halted.set()
        for gate in self._gates.values():
            gate.allow(_UNLIMITED)  # waiting attempts pass the gate and see that calls are halted

    @property
    def batches_standing(self) -> tuple[int, int, int]:
        """How many batches are waited for, their requests, and how many of these are answered."""
        rows = [batches.standing for batches in self._batches.values()]
        return sum(r[0] for r in rows), sum(r[1] for r in rows), sum(r[2] for r in rows)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        for batches in self._batches.values():
            await batches.close()
        self._batches.clear()

    async def _post(self, url: str, request: Request) -> Json:
        model = request.ask.model
        path = "/chat/completions" if request.ask.prompt.mode == "chat" else "/completions"
        place = _place(url, model)

        async def post(body: Json) -> Json:
            content = orjson.dumps(body)
            if self._batch_record is not None and not model.embedded:
                return await self._post_in_batch(url, path, request, content)
            return await self._client(url, model).send_json(path, content, request.trip)

        try:
            if request.ask.given is not None:
                return await self._score(
                    request, place, sender(self._client(url, model), url, model, request.trip)
                )
            return await self._adapter.send(place, request, post)
        except (openai.APIError, httpx2.HTTPError) as e:
            raise await self._failure(e, url, model) from None

    async def _failure(
        self, error: openai.APIError | httpx2.HTTPError, url: str, model: Model
    ) -> ModelError:
        if model.embedded and connection_dropped(error):
            # Its server may have been started again at another address.
            self._urls.pop(model.model, None)
        answered = self._gate(url, model).standing.answered
        return await final_error(error, url, model, answered, self._answered_before)

    async def scoring(self, model: Model) -> Scoring:
        """Return how a model scores a given text; it is found out once. Raises ModelError of kind
        UNSCORED if it does not, another ModelError if it cannot be asked, and MachineError."""
        if model.in_process:
            return PUPPET_SCORING
        url = await self.address(model)
        place = _place(url, model)
        if model.embedded:
            self._scorer.know(place, EMBEDDED_SCORING)
        try:
            return await self._scorer.scoring(
                place, sender(self._client(url, model), url, model, Trip())
            )
        except (openai.APIError, httpx2.HTTPError) as e:
            raise await self._failure(e, url, model) from None

    async def _score(self, request: Request, place: Place, send: Send) -> Json:
        """Return a response whose reply is the log-probability of a given text."""
        ask = request.ask
        assert ask.given is not None
        scoring = await self.scoring(ask.model)
        request.body = {**request.body, "scored": scoring.way}
        return await self._scorer.score(place, ask.prompt.text, ask.given, send, ask.slot)

    async def _answer_in_process(self, request: Request, spec: Puppet) -> Json:
        if request.ask.given is None:
            return answer(request.body, spec)

        async def send(path: str, body: Json | None) -> Json:
            return answer((body or {}) | {"user": request.ask.draw.key}, spec)

        place = _place("puppet", request.ask.model)
        self._scorer.know(place, PUPPET_SCORING)
        return await self._score(request, place, send)

    async def _post_in_batch(self, url: str, path: str, request: Request, content: bytes) -> Json:
        """Send a call with the next batch, and with later ones while its answer is an error that
        another attempt may cure. Raises the errors of `Batches.send`, and openai.APIStatusError.

        A call that goes alone, to learn what its model takes, is not sent in a batch: all others
        wait for it.
        """
        model, key, trip = request.ask.model, request.ask.draw.key, request.trip
        batches = self._batches_of(url, path, model)
        if request.alone and not batches.has_sent(key, content):
            return await self._client(url, model).send_json(path, content, trip)
        for again in range(model.retries + 1):
            reply = await batches.send(key, content, again=again)
            if 200 <= reply.status < 300:
                trip.ends.append("ok")
                return reply.body
            trip.ends.append(str(reply.status))
            if not (reply.status in (408, 409, 429) or reply.status >= 500):
                break
        raise status_error(f"{url}{path}", reply.status, reply.body)

    def _batches_of(self, url: str, path: str, model: Model) -> Batches:
        # A batch is for one model.
        key = (url, path, model.api_key_env, model.model)
        if key not in self._batches:
            assert self._batch_record is not None
            self._batches[key] = Batches(
                batch_client(self._agreed.admit(url, model.api_key_env), model),
                path,
                record=self._batch_record,
                redactor=self._keys_redactor(),
                halted=self._halted,
            )
        return self._batches[key]

    def _client(self, url: str, model: Model) -> Client:
        key = (url, model.api_key_env, model.timeout, model.retries)
        if key not in self._clients:
            address = self._agreed.admit(url, "" if model.embedded else model.api_key_env)
            url = str(address)
            options = client_options(address, model)
            wire = Wire(
                self._gate(url, model),
                self._keys_redactor(),
                address=address,
                timeout=model.timeout,
                connections=self._connections,
                halted=self._halted,
                patient=model.retries > 0,
            )
            self._clients[key] = Client(
                wire,
                self._halted,
                timeout=httpx2.Timeout(model.timeout, connect=min(10.0, model.timeout)),
                **options,
            )
        return self._clients[key]

    def _keys_redactor(self) -> Redactor:
        """Return what takes every key out of replies that any model of this run is sent."""
        if self._redactor is None:
            self._redactor = Redactor(known_keys(self._agreed))
        return self._redactor

    def _gate(self, url: str, model: Model) -> Gate:
        endpoint = public_address(url)
        if endpoint not in self._gates:
            if self._new_gate is None or model.embedded:
                # A server on this machine has its own slots and refuses no request.
                gate = Gate()
                gate.allow(self._connections)
                self._gates[endpoint] = gate
            else:
                self._gates[endpoint] = self._new_gate(endpoint)
        return self._gates[endpoint]


class SceneClient:
    """Answers the draws of one scene, with recorded calls or with new ones.

    `record` writes a new call and the blocks that no earlier call showed, before the scene uses the
    reply; it may raise OSError. `before_new_call` is awaited before each new call, so that a scene
    that begins with recorded calls can wait there until it may call a model. `price` is that of a
    model without one, for the `allowance`.
    """

    def __init__(
        self,
        models: Models,
        book: dict[str, Block],
        *,
        known: Mapping[Draw, Call],
        record: Callable[[Call, Sequence[Block]], None],
        before_new_call: Callable[[], Awaitable[None]],
        allowance: Allowance | None = None,
        price: Price | None = None,
    ) -> None:
        self._models = models
        self._book = book
        self._recorded_blocks = 0
        self._known = known
        self._record = record
        self._before_new_call = before_new_call
        self._allowance = allowance
        self._price = price
        self._gauge = PromptGauge()
        self.calls: list[Call] = []
        """The calls of the scene in order, recorded and new."""

    async def draw(self, ask: Ask) -> Call:
        """Return the call that answers `ask`. Raises ModelError if the call failed, if calls are
        halted, or if the recorded call had another prompt."""
        call = self._known.get(ask.draw)
        if call is None:
            await self._before_new_call()
            call = await self._new_call(ask)
        elif call.blocks != ask.prompt.blocks:
            raise ModelError(
                f"{ask.draw.key}: the prompt of the call in the journal differs from the prompt "
                "that this version of improv makes",
                kind=ErrorKind.CHANGED,
            )
        else:
            self._gauge.is_cut(ask, call)
        self.calls.append(call)
        if call.error:
            raise ModelError(f"{ask.draw.role}: {call.error}", kind=call.error_kind)
        return call

    async def _new_call(self, ask: Ask) -> Call:
        models, allowance = self._models, self._allowance
        if allowance is not None and models.halted_by is None:
            await allowance.take()
        if models.halted_by is not None:
            raise models.halted_by
        call = await models.complete(ask)
        if self._gauge.is_cut(ask, call):
            call = replace(call, faults=(*call.faults, ReplyFault.PROMPT_CUT))
        if allowance is not None:
            if call.error:
                allowance.give_back()
            else:
                allowance.spend(call_spending(call, ask.model.price or self._price))
        # A book only grows, so the blocks that no earlier call showed are its last ones.
        new = len(self._book) - self._recorded_blocks
        blocks = [*itertools.islice(reversed(self._book.values()), new)][::-1]
        self._recorded_blocks += new
        try:
            self._record(call, blocks)
        except OSError as e:
            error = ModelError(folder_unwritable(e), kind=ErrorKind.DISK)
            models.halt(error)
            raise error from None
        await models.turnstile.go_through()
        return call


def _place(url: str, model: Model) -> Place:
    return Place("embedded" if model.embedded else public_address(url), model.model)


def _unwritten(ask: Ask) -> Json:
    """Return the body of a call that scores a given text, before its way is known."""
    return {"model": ask.model.model, **ask.model.extra}


def _params(request: Request) -> str:
    """Return the sampling parameters of a request as JSON: the body without the prompt, and the
    manners that changed it."""
    hidden = ("messages", "prompt", "user", "json_schema")
    shown = {k: v for k, v in request.body.items() if k not in hidden}
    form = shown.get("response_format")
    if isinstance(form, dict):
        shown["response_format"] = form.get("type", "json_schema")
    if request.adapted:
        shown[ADAPTED] = request.adapted
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()


def _cut_at_stop(reply: str, request: Request) -> str:
    """Return a reply up to the first stop string, if the endpoint was not told of them."""
    if request.ask.prompt.stop and "stop" not in request.body:
        ends = [at for stop in request.ask.prompt.stop if (at := reply.find(stop)) >= 0]
        return reply[: min(ends, default=len(reply))]
    return reply


def _served(response: Json) -> str:
    """Return the model that the response names, and its system fingerprint if there is one."""
    names = (response.get("model"), response.get("system_fingerprint"))
    return " ".join(name for name in names if isinstance(name, str))[:200]
