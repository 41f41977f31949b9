"""What the Redis broker has Redis do: its names, its Lua scripts, and what goes over a channel.

Nothing here reads a socket. Each script touches the keys of one slot alone, so that it runs on a
cluster as it does on a single server, and may be run again when its answer was lost.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import uuid4

import msgspec
from attrs import evolve, frozen

from .limits import Rates
from .protocol import MAX_OFFSET, Event, HistoryPolicy

FORMAT = 1
"""The version of everything below; it is part of all names, so that two can live side by side."""


@frozen
class Names:
    """What the keys and channels of one app are called.

    What stands in the braces decides the slot of a cluster, so that all of a room are in one
    (Redis Cluster Specification, "Hash tags"). It begins with a letter and a colon, since nothing
    in braces would be no tag at all.

    Args:
        prefix: What they all begin with; channels know no database numbers, so it holds that too.
    """

    prefix: str

    def _room(self, part: str, room: str) -> str:
        return f"{self.prefix}:{part}:{{r:{room}}}"

    def channel(self, room: str) -> str:
        """Where the events of *room* go out."""
        return self._room("events", room)

    def room_of(self, channel: str) -> str:
        """Return whose channel that is."""
        return channel[len(self.prefix) + len(":events:{r:") : -1]

    def place(self, room: str) -> str:
        """Where *room* stands: its epoch and newest offset; it outlives the events."""
        return self._room("place", room)

    def history(self, room: str) -> str:
        """The newest events of *room*, a stream."""
        return self._room("history", room)

    def sent(self, room: str, key: str) -> str:
        """Where in *room* an event is that was published under *key*."""
        return f"{self._room('sent', room)}:{_digest(key)}"

    def users(self, room: str) -> str:
        """How many connections each user has in *room*."""
        return self._room("users", room)

    def present(self, room: str, node: str) -> str:
        """The connections in *room* that are *node*'s."""
        return f"{self._room('present', room)}:{node}"

    def nodes(self) -> str:
        """The processes, each with the time it was last heard of."""
        return f"{self.prefix}:{{nodes}}:heard"

    def notes(self) -> str:
        """What notes for each process since when it is known."""
        return f"{self.prefix}:{{nodes}}:notes"

    def rooms_of(self, node: str) -> str:
        """The rooms that *node* may have connections in."""
        return f"{self.prefix}:rooms:{node}"

    def clearing(self, node: str) -> str:
        """Who is clearing up after *node*."""
        return f"{self.prefix}:clearing:{node}"

    def once(self, key: str) -> str:
        """The request that runs once under *key*."""
        return f"{self.prefix}:once:{_digest(key)}"

    def counted(self, key: str) -> str:
        """When what is counted under *key* has happened."""
        return f"{self.prefix}:counted:{_digest(key)}"

    def probe(self, node: str, salt: int) -> str:
        """The channel on which *node* hears itself; *salt* moves it to another slot."""
        return f"{self.prefix}:probe:{{{node}:{salt}}}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


PLACE_LIFE = 24 * 3600.0
"""For how many seconds a room's numbering outlives its events."""


def life(history: HistoryPolicy) -> int:
    """Return for how many milliseconds a room's numbering is kept."""
    return round((history.ttl + PLACE_LIFE) * 1000)


def how_to_send(verb: str, history: HistoryPolicy) -> tuple[str | int, ...]:
    """Return what the scripts that send an event take first: by which verb, and what is kept."""
    return verb, history.size, round(history.ttl * 1000), life(history), uuid4().hex[:16]


class Script:
    """A Lua script, and the name that Redis keeps it under."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


# A server that was restarted from a snapshot, or a replica that took over, may have forgotten the
# newest events, and would give their numbers away again. So each room notes in which run of which
# server it was written, and begins anew when that is over. Where INFO isn't allowed this is left
# out.
_STAND = """
local asked
local function info()
    -- Not before it is needed: it takes as long as all the rest.
    asked = asked or redis.pcall('INFO', 'server')
    return type(asked) == 'string' and asked or ''
end

local function stand(place)
    local known = redis.call('HMGET', place, 'epoch', 'offset', 'run')
    local epoch, offset, run = known[1], known[2], known[3]
    local same = epoch and (run == '' or info() == '' or string.find(info(), run, 1, true))
    return epoch, offset, same
end

local function begin(place, history, fresh)
    local run = string.match(info(), 'run_id:(%x+)') or ''
    redis.call('DEL', history)
    redis.call('HSET', place, 'epoch', fresh, 'offset', '0', 'run', run)
    return fresh, '0'
end

local function since(history, offset, newest)
    local missed = tonumber(newest) - tonumber(offset)
    if missed < 0 then return nil end
    if missed == 0 then return {} end
    local from = string.format('%.0f-0', tonumber(offset) + 1)
    local events = redis.call('XRANGE', history, from, '+')
    if #events ~= missed then return nil end
    return events
end

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_SEND = (
    _STAND
    + """
-- place, history, channel; how is {verb, size, ttl ms, life ms, fresh epoch}
local function send(place, history, channel, how, body)
    local where = '- 0'
    if how[2] ~= '0' then
        local epoch, offset, same = stand(place)
        if not same then epoch = begin(place, history, how[5]) end
        local entry = {'MAXLEN', '=', how[2], '', 'at', string.format('%.0f', now()), 'event', body}
        local function add()
            offset = string.format('%.0f', redis.call('HINCRBY', place, 'offset', 1))
            entry[4] = offset .. '-0'
            return redis.pcall('XADD', history, unpack(entry))
        end
        if type(add()) == 'table' then
            -- Its history is none of ours: it has numbers that nobody was given.
            epoch = begin(place, history, how[5])
            add()
        end
        redis.call('PEXPIRE', place, how[4])
        redis.call('PEXPIRE', history, how[3])
        where = epoch .. ' ' .. offset
    end
    redis.call(how[1], channel, where .. ' ' .. body)
    return where
end
"""
)

_PRESENCE = (
    _SEND
    + """
-- KEYS: the node's part of the room, users; and of the room by which it is told, if it is:
-- place, history, channel
-- ARGV: id of events, how to send them (5), connection, user, ...
local function keep()
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
local told = 0
local function tell(kind, user)
    if #KEYS < 5 then return end
    told = told + 1
    local how = {ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]}
    send(KEYS[3], KEYS[4], KEYS[5], how, '["presence_' .. kind .. '","' .. ARGV[1] .. '-' .. told
        .. '",null,{"user_id":' .. cjson.encode(user) .. '}]')
end
"""
)

PUBLISH = Script(
    _SEND
    + """
-- KEYS: place, history, channel, sent
-- ARGV: verb, size, ttl ms, life ms, fresh epoch, ms to remember what was sent, body
local remember = tonumber(ARGV[6])
if remember > 0 then
    local sent = redis.call('GET', KEYS[4])
    if sent then return sent end
end
local where = send(KEYS[1], KEYS[2], KEYS[3], ARGV, ARGV[7])
if remember > 0 then redis.call('SET', KEYS[4], where, 'PX', ARGV[6]) end
return where
"""
)
"""Number an event, keep it, and send it out, or tell where it is if it was sent before.

Returns where it stands: the epoch and the offset, ``"- 0"`` where the room keeps no history.
"""

RECOVER = Script(
    _STAND
    + """
-- KEYS: place, history
-- ARGV: epoch or '', offset, ttl ms, life ms, fresh epoch, whether a process asks ('1')
local epoch, newest, same = stand(KEYS[1])
local forgot = ARGV[6] == '1' and epoch == ARGV[1] and tonumber(newest) < tonumber(ARGV[2])
if not same or forgot then epoch, newest = begin(KEYS[1], KEYS[2], ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[1] ~= epoch then return {epoch, newest, 0, {}} end
local events = since(KEYS[2], ARGV[2], newest)
if not events then return {epoch, newest, 0, {}} end
if events[1] and now() - (tonumber(events[1][2][2]) or 0) >= tonumber(ARGV[3]) then
    return {epoch, newest, 0, {}}
end
return {epoch, newest, 1, events}
"""
)
"""Tell where a room stands, and what came after a place if that is all still there.

A process that asks has heard what it says it has: a server that knows less has forgotten the rest.
A client's word doesn't count as much. Returns the epoch, the newest offset, whether it is all, and
entries of the stream.
"""

ENTER = Script(
    _PRESENCE
    + """
local connection, user = ARGV[7], ARGV[8]
if redis.call('HSETNX', KEYS[1], connection, user) == 0 then
    return tonumber(redis.call('HGET', KEYS[2], user) or '0')
end
local count = redis.call('HINCRBY', KEYS[2], user, 1)
keep()
if count == 1 then tell('join', user) end
return count
"""
)
"""Record a connection in a room. Returns how many its user has there."""

EXIT = Script(
    _PRESENCE
    + """
local connection, user = ARGV[7], ARGV[8]
if redis.call('HDEL', KEYS[1], connection) == 0 then
    return tonumber(redis.call('HGET', KEYS[2], user) or '0')
end
local left = redis.call('HINCRBY', KEYS[2], user, -1)
if left > 0 then return left end
redis.call('HDEL', KEYS[2], user)
tell('leave', user)
return 0
"""
)
"""Strike a connection off. Returns how many its user has left there."""

SETTLE = Script(
    _PRESENCE
    + """
local change = {}
local before = redis.call('HGETALL', KEYS[1])
for i = 2, #before, 2 do change[before[i]] = (change[before[i]] or 0) - 1 end
redis.call('DEL', KEYS[1])
for i = 7, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    change[ARGV[i + 1]] = (change[ARGV[i + 1]] or 0) + 1
end
keep()
for user, by in pairs(change) do
    if by ~= 0 then
        local count = redis.call('HINCRBY', KEYS[2], user, by)
        if count <= 0 then
            redis.call('HDEL', KEYS[2], user)
            tell('leave', user)
        elseif count == by then
            tell('join', user)
        end
    end
end
"""
)
"""Make a node's part of a room exactly this, and tell of the users whom that makes come or go."""

PRESENT = Script(
    _STAND
    + """
-- KEYS: users, place, history
-- ARGV: fresh epoch, life ms
local epoch, newest, same = stand(KEYS[2])
if not same then epoch, newest = begin(KEYS[2], KEYS[3], ARGV[1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {epoch, newest, redis.call('HGETALL', KEYS[1])}
"""
)
"""Tell who is in a room, and where the room stands by which it is told."""

BEAT = Script("""
-- KEYS: nodes, notes
-- ARGV: node, ms without a word until a node is taken for dead, a fresh note, life ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZADD', KEYS[1], now, ARGV[1]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local late = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
return {redis.call('HGET', KEYS[2], ARGV[1]) or '', late}
""")
"""Tell that a node lives. Returns the note that was made when it became known, which is another
when it had been forgotten, and the nodes that are late."""

BEGIN = Script("""
-- KEYS: once
-- ARGV: fingerprint, owner, lease ms
local known = redis.call('HMGET', KEYS[1], 'asked', 'answer', 'owner')
if not known[1] then
    redis.call('HSET', KEYS[1], 'asked', ARGV[1], 'owner', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {'mine'}
end
if known[1] ~= ARGV[1] then return {'other'} end
if known[2] then return {'answer', known[2]} end
if known[3] == ARGV[2] then return {'mine'} end
return {'wait'}
""")
"""Begin a request that runs once. Returns ``mine``, ``other``, ``wait``, or ``answer`` and it."""

FINISH = Script("""
-- KEYS: once
-- ARGV: fingerprint, owner, ttl ms, answer
local known = redis.call('HMGET', KEYS[1], 'owner', 'answer')
if known[2] or (known[1] and known[1] ~= ARGV[2]) then return end
redis.call('HSET', KEYS[1], 'asked', ARGV[1], 'owner', ARGV[2], 'answer', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
""")
"""Keep the answer of a request, unless somebody else's run of it counts."""

ABANDON = Script("""
-- KEYS: once
-- ARGV: owner
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] and
    redis.call('HEXISTS', KEYS[1], 'answer') == 0 then
    redis.call('DEL', KEYS[1])
end
""")
"""Forget a request that came to nothing."""

RENEW = Script("""
-- KEYS: once
-- ARGV: owner, lease ms
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] and
    redis.call('HEXISTS', KEYS[1], 'answer') == 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
""")
"""Tell that a request still runs."""


# The moments of the hits that may still count, the newest first; so the one that is as many places
# back as a rate allows says whether there is room for another. Moments to come are no reason to
# wait: the clock was set back.
COUNT = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local most, longest = 0, 0
for i = 1, #ARGV, 2 do
    local amount, span = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    local hit = tonumber(redis.call('LINDEX', KEYS[1], amount - 1) or nil)
    if hit and hit <= now and hit + span > now then return hit + span - now end
    most, longest = math.max(most, amount), math.max(longest, span)
end
redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
redis.call('LTRIM', KEYS[1], 0, most - 1)
redis.call('PEXPIRE', KEYS[1], math.ceil(longest / 1000))
return 0
""")


def spans(rates: Rates) -> tuple[int, ...]:
    """Return what COUNT takes: of each rate how many, and in how many microseconds."""
    return tuple(part for rate in rates for part in (rate.amount, rate.get_expiry() * 1_000_000))


class _Body(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """An event as Redis carries it; where it stands is written before it, by the script."""

    type: str
    id: str
    exclude: str | None
    data: msgspec.Raw


NOWHERE = b"- 0"
"""Where an event stands in a room that keeps no history."""
_WHERE = re.compile(rb"([0-9A-Za-z]{1,64}) ([0-9]{1,16})")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Body)


def encode_body(event: Event) -> bytes:
    """Return *event* as Redis carries it, without its room and its place."""
    return _encoder.encode(_Body(event.type, event.id, event.exclude, msgspec.Raw(event.data)))


def decode_body(body: bytes, room: str) -> Event:
    """Read what :func:`encode_body` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        read = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no event: {error}") from error
    data = bytes(read.data)
    data.decode()  # Raw is looked at for its form, not for its UTF-8.
    return Event(read.type, data, room, read.id, exclude=read.exclude)


def placed(event: Event, where: bytes) -> Event:
    """Return *event* with the place that PUBLISH returned.

    Raises:
        ValueError: that is no place.
    """
    if where == NOWHERE:
        return event
    found = _WHERE.fullmatch(where)
    offset = int(found[2]) if found else 0
    if found is None or not 0 < offset <= MAX_OFFSET:
        raise ValueError("nowhere in a room")
    return evolve(event, epoch=found[1].decode(), offset=offset)


def decode_message(message: bytes, room: str) -> Event:
    """Read what came over the channel of *room*.

    Raises:
        ValueError: that is no event of ours.
    """
    epoch, offset, body = message.split(b" ", 2)
    return placed(decode_body(body, room), epoch + b" " + offset)


def decode_entries(entries: list[Any], epoch: str, room: str) -> tuple[Event, ...]:
    """Read entries of a room's stream, as XRANGE returns them.

    Raises:
        ValueError: one is none of ours.
    """
    events = []
    for number, fields in entries:
        if len(fields) != 4:
            raise ValueError("an entry of another form")
        offset = int(number.partition(b"-")[0])
        events.append(evolve(decode_body(fields[3], room), epoch=epoch, offset=offset))
    return tuple(events)
