"""permessage-deflate (RFC 7692) that a compression bomb can't make use of."""

from __future__ import annotations

import zlib

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits


class BoundedDeflate(PerMessageDeflate):
    """wsproto's extension, which stops inflating a message that grows too long.

    Args:
        limit: How many bytes a message may have when it is inflated.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._room = limit

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Begin a frame; a control frame is none of the message that it stands in."""
        before = self._inbound_compressed
        bits = super().frame_inbound_header(proto, opcode, rsv, payload_length)
        if opcode.iscontrol():
            self._inbound_compressed = before
        return bits

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """Inflate a part of a message, and no more of it than may be."""
        inflater = self._decompressor
        if inflater is None or not (self._inbound_compressed and self._inbound_is_compressible):
            return data
        try:
            inflated = inflater.decompress(data, self._room + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if inflater.eof:
            # zlib would keep all that follows the last block, without a limit. The RFC allows for
            # one (section 7.2.3.4), but whoever sends messages has no use for it.
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._room -= len(inflated)
        return CloseReason.MESSAGE_TOO_BIG if self._room < 0 else inflated

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """Inflate what is left of a message that has ended."""
        if not self._inbound_is_compressible:
            return None  # And nothing else: wsproto would forget the message that it stands in.
        if fin:
            self._room = self._limit
        return super().frame_inbound_complete(proto, fin)
