"""Lists by cursor."""

from base64 import urlsafe_b64encode

import pytest

HUGE_NUMBER = urlsafe_b64encode(b"9" * 30).decode()
HUGE_DATE = urlsafe_b64encode(b'[999999999999999999, "conv-welcome"]').decode()
LISTS = [
    "/users",
    "/conversations",
    "/conversations/conv-welcome/members",
    "/conversations/conv-welcome/messages",
]


async def read_all(api, path, between=None, **query):
    """Return the items of every page, calling *between* after each."""
    items, cursor = [], None
    while True:
        status, page = await api.get(path, **query, **({"cursor": cursor} if cursor else {}))
        assert status == 200
        cursor = page.pop("next_cursor")
        (found,) = page.values()
        items += found
        if cursor is None:
            return items
        assert found
        if between is not None:
            await between()


async def test_each_message_comes_once_while_others_come_and_go(ana):
    conversation_id = await ana.start_conversation()
    path = f"/conversations/{conversation_id}/messages"
    written = [(await ana.write(conversation_id, f"{n}"))["id"] for n in range(120)]
    late = []

    async def between():
        late.append((await ana.write(conversation_id, "late"))["id"])
        # Already read, so that every offset behind it moves.
        await ana.delete(f"/messages/{written[len(late)]}")

    read = [message["id"] for message in await read_all(ana, path, between, limit=25)]
    assert read[:120] == written
    assert read[120:] == late[: len(read) - 120]
    assert len(late) == 4


async def test_the_newest_messages_can_come_first(ana):
    conversation_id = await ana.start_conversation()
    path = f"/conversations/{conversation_id}/messages"
    written = [(await ana.write(conversation_id, f"{n}"))["id"] for n in range(12)]

    async def between():
        await ana.write(conversation_id, "too late for this list")

    read = await read_all(ana, path, between, limit=5, order="desc")
    assert [message["id"] for message in read] == written[::-1]


async def test_the_position_of_a_deleted_message_is_not_given_again(ana):
    conversation_id = await ana.start_conversation()
    path = f"/conversations/{conversation_id}/messages"
    first, second, third = [await ana.write(conversation_id) for _ in range(3)]
    cursor = (await ana.get(path, limit=2)).body["next_cursor"]
    await ana.delete(f"/messages/{second['id']}")
    await ana.delete(f"/messages/{third['id']}")
    fourth = await ana.write(conversation_id)
    assert (await ana.get(path, cursor=cursor)).body["messages"] == [fourth]
    assert (await ana.get(path)).body["messages"] == [first, fourth]


async def test_conversations_of_the_same_second_come_once_each(ana):
    started = [await ana.start_conversation(title=f"{n}") for n in range(12)]
    read = [one["id"] for one in await read_all(ana, "/conversations", limit=5)]
    assert read == ["conv-welcome", *started]


@pytest.mark.parametrize(("path", "key"), [(LISTS[0], "id"), (LISTS[2], "user_id")])
async def test_users_and_members_come_by_their_ids(ana, path, key):
    items = await read_all(ana, path, limit=1)
    assert [item[key] for item in items] == ["ana", "eva", "luis"]


async def test_a_page_has_fifty_items_unless_asked_otherwise(ana):
    conversation_id = await ana.start_conversation()
    for _ in range(51):
        await ana.write(conversation_id)
    _, body = await ana.get(f"/conversations/{conversation_id}/messages")
    assert len(body["messages"]) == 50
    assert body["next_cursor"] is not None


async def test_a_full_last_page_has_no_cursor(ana):
    _, body = await ana.get("/users", limit=3)
    assert len(body["users"]) == 3
    assert body["next_cursor"] is None


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "101", "-1", "many", ""])
async def test_a_wrong_limit_is_refused(ana, path, limit):
    status, body = await ana.get(path, limit=limit)
    assert (status, body["code"]) == (400, "validation_error")
    assert list(body["details"]["fields"]) == ["limit"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "ñ", "a", "_w", "Iv8i", "bnVsbA", "W10", HUGE_NUMBER, HUGE_DATE],
)
async def test_a_wrong_cursor_is_refused(ana, path, cursor):
    status, body = await ana.get(path, cursor=cursor)
    assert (status, body["code"]) == (400, "validation_error")
    assert list(body["details"]["fields"]) == ["cursor"]


async def test_a_wrong_order_is_refused(ana):
    status, body = await ana.get(LISTS[3], order="random")
    assert (status, list(body["details"]["fields"])) == (400, ["order"])
