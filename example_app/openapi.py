"""The API's description, served at /openapi.json and to be read at /docs."""

from typing import Any

import attrs
import msgspec
from quart import Quart
from quart_schema import HttpSecurityScheme, Info, OpenAPIProvider, QuartSchema, Tag

from example_app import models

ERROR = {
    "type": "object",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "details": {"type": "object"},
    },
}
"""What every refusal's body is."""
REFUSED = {
    "description": "Refused",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
DONE = {"204": {"description": "Done, with nothing to tell"}}


class CompleteOpenAPIProvider(OpenAPIProvider):
    """Describes refusals too, and the nested models that quart-schema 0.25 leaves out."""

    def schema(self) -> dict[str, Any]:
        description = super().schema()
        for operations in description["paths"].values():
            for operation in operations.values():
                # Their keys are numbers, which can't be sorted beside a word.
                described = {str(status): it for status, it in operation["responses"].items()}
                operation["responses"] = {**(described or DONE), "default": REFUSED}
                if "requestBody" in operation:
                    operation["requestBody"]["required"] = True
        description["components"]["schemas"]["Error"] = ERROR
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
