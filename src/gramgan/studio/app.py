"""The web application: pages, their parts, and who may use them."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from gramgan.studio.context import Studio
from gramgan.studio.guard import RequestGuard
from gramgan.studio.pages import common, evaluate, textures, train, upscale

_STATIC = Path(__file__).parent / "static"


def application(studio: Studio, *, host: str, password: str | None) -> Starlette:
    """All pages of `studio`, for a server that listens at `host`.

    Raises:
        UserError: `host` can be reached from elsewhere and there is no password.
    """
    routes = [
        *common.common_routes(),
        *upscale.upscale_routes(),
        *train.train_routes(),
        *textures.textures_routes(),
        *evaluate.evaluate_routes(),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(RequestGuard, host=host, password=password)])
    app.state.studio = studio
    return app
