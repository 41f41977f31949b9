import os
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from quart import Quart, request
from quart_jwt_extended import JWTManager, create_access_token
from quart_schema import QuartSchema, validate_request, validate_response

from quart_realtime import Realtime

app = Quart(__name__)
app.config["JWT_SECRET_KEY"] = os.environ.get("JWT_SECRET_KEY", os.urandom(32).hex())
JWTManager(app)
QuartSchema(app)
realtime = Realtime(app)


@dataclass
class TodoIn:
    task: str
    due: datetime | None


@dataclass
class Todo(TodoIn):
    id: int


@app.post("/guests")
async def let_in_a_guest() -> dict:
    return {"access_token": create_access_token(f"guest-{uuid4().hex}")}


@app.post("/echo")
@realtime.handler("echo", "say")
async def echo() -> dict:
    return {"input": await request.get_json(), "extra": True}


@app.post("/todos/")
@validate_request(TodoIn)
@validate_response(Todo)
@realtime.handler("todos", "create")
@realtime.emits("todo_created")
async def create_todo(data: TodoIn) -> Todo:
    return Todo(id=1, task=data.task, due=data.due)
