"""Web application: /predict, /health, /metrics, and a page on which to drop an image."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from efficientdet_pipeline.serving.prediction_request import RequestError
from efficientdet_pipeline.serving.prediction_service import Answer, PredictionService, refusal
from efficientdet_pipeline.serving.server_metrics import CONTENT_TYPE

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_PAGES = {
    "/": ("demo.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(service: PredictionService, *, is_local: bool) -> Starlette:
    """Returns the application, for any ASGI server.

    Args:
      service: answers the requests.
      is_local: only this machine is served; then a name of another host in a
        request is refused, which a page elsewhere could make point to this machine.
    """
    pool = ThreadPoolExecutor(service.limits.max_pending, thread_name_prefix="request")

    async def predict(request: Request) -> Response:
        start = time.monotonic()
        service.metrics.begin_request()
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        try:
            answer = await _answer(service, request, pool)
            status = answer.status
            return _json(answer)
        finally:
            service.metrics.end_request(int(status), time.monotonic() - start)

    async def health(request: Request) -> Response:
        return _json(Answer(HTTPStatus.OK, service.health()))

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE, headers=_HEADERS)

    async def missing(request: Request, error: Exception) -> Response:
        message = "There is no such page; there are /predict (POST), /health, /metrics and /."
        return _refused(HTTPStatus.NOT_FOUND, message)

    async def other_method(request: Request, error: Exception) -> Response:
        allowed = "POST" if request.url.path == "/predict" else "GET"
        message = f"{request.url.path} answers {allowed}. Received {request.method}."
        return _refused(HTTPStatus.METHOD_NOT_ALLOWED, message, Allow=allowed)

    routes = [
        Route("/predict", _guarded(predict, is_local), methods=["POST"]),
        Route("/health", _guarded(health, is_local), methods=["GET"]),
        Route("/metrics", _guarded(metrics, is_local), methods=["GET"]),
        *(Route(path, _guarded(_page(path), is_local), methods=["GET"]) for path in _PAGES),
    ]
    return Starlette(routes=routes, exception_handlers={404: missing, 405: other_method})


async def _answer(service: PredictionService, request: Request, pool: ThreadPoolExecutor) -> Answer:
    try:
        with service.admission() as deadline:
            body = await _body(service, request, deadline)
            kind = request.headers.get("content-type", "")
            min_score = request.query_params.get("min_score")
            work = functools.partial(service.answer, kind, body, min_score, deadline)
            return await asyncio.get_running_loop().run_in_executor(pool, work)
    except RequestError as error:
        return refusal(error)


async def _body(service: PredictionService, request: Request, deadline: float) -> bytes:
    """Returns the body; reading ends as soon as it is too large or too slow."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal():
        service.check_body_size(int(stated))
    body = bytearray()
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            async for chunk in request.stream():
                body += chunk
                service.check_body_size(len(body))
    except TimeoutError:
        message = f"The body did not arrive within {service.limits.timeout:g} s (--request_timeout)."
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, message) from None
    except ClientDisconnect:
        raise RequestError(HTTPStatus.BAD_REQUEST, "The connection was closed before the body ended.") from None
    return bytes(body)


def _page(path: str) -> Endpoint:
    name, kind = _PAGES[path]
    content = Path(__file__).with_name(name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(content, headers={**_HEADERS, "Content-Type": kind})

    return page


def _guarded(endpoint: Endpoint, is_local: bool) -> Endpoint:
    """Returns the endpoint with a check of where a request comes from."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if is_local and name not in _LOCAL:
            return _refused(HTTPStatus.FORBIDDEN, "This server is for this machine alone (--host).")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _refused(HTTPStatus.FORBIDDEN, "Pages of other servers may not use this one.")
        return await endpoint(request)

    return guarded


def _refused(status: HTTPStatus, message: str, **headers: str) -> Response:
    response = _json(refusal(RequestError(status, message)))
    response.headers.update(headers)
    return response


def _json(answer: Answer) -> Response:
    return Response(answer.body(), status_code=answer.status, headers=answer.headers)
