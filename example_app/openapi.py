"""The API's description, served at /openapi.json and to be read at /docs."""

from typing import Any

import attrs
import msgspec
from quart import Quart
from quart_schema import HttpSecurityScheme, Info, OpenAPIProvider, QuartSchema, Tag

from example_app import models


class CompleteOpenAPIProvider(OpenAPIProvider):
    """Describes the nested models too, which quart-schema 0.25 refers to but leaves out."""

    def schema(self) -> dict[str, Any]:
        description = super().schema()
        _, components = msgspec.json.schema_components(
            [model for model in vars(models).values() if attrs.has(model)],
            ref_template="#/components/schemas/{name}",
        )
        description["components"]["schemas"].update(components)
        return description


def init_app(app: Quart, tags: list[str]) -> None:
    """Make *app* validate and describe its routes, sorted by *tags*."""
    QuartSchema(
        app,
        info=Info(title="Chat", version="1.0.0", description="Conversations between users."),
        tags=[Tag(name=tag) for tag in tags],
        security_schemes={"bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT")},
        security=[{"bearer": []}],
        redoc_ui_path=None,
        scalar_ui_path=None,
        # The models are attrs classes, which only msgspec converts.
        conversion_preference="msgspec",
        openapi_provider_class=CompleteOpenAPIProvider,
    )
