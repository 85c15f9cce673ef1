"""`proxies/websocket.py` against a plain reading of RFC 6455 5.2, however the bytes are cut."""

from hypothesis import given
from hypothesis import strategies as st

from proxies.websocket import GOING_AWAY, FrameTail

FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x89, 0x8A]),
        st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536]),
        st.booleans(),
    ),
    max_size=5,
)


def frame(first: int, length: int, *, is_masked: bool) -> bytes:
    mask = 0x80 if is_masked else 0
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 65536:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    return head + (b"\1\2\3\4" if is_masked else b"") + b"\x88" * length


@given(FRAMES, st.lists(st.integers(1, 70_000), max_size=8))
def test_it_is_between_frames_exactly_at_their_ends(frames: list[tuple[int, int, bool]], sizes: list[int]) -> None:
    data = b""
    ends = {0}
    for first, length, is_masked in frames:
        data += frame(first, length, is_masked=is_masked)
        ends.add(len(data))
    tail = FrameTail()
    position = 0
    for size in [*sizes, 1, 2, 3, len(data)]:
        piece = data[position : position + size]
        tail.scan(piece)
        position += len(piece)
        assert tail.is_between_frames == (position in ends)
    assert not tail.has_closed


@given(FRAMES, st.integers(0, 4))
def test_a_close_frame_is_noticed_when_its_head_is_whole(frames: list[tuple[int, int, bool]], cut: int) -> None:
    data = b"".join(frame(first, length, is_masked=is_masked) for first, length, is_masked in frames)
    tail = FrameTail()
    tail.scan(data + GOING_AWAY[:cut])
    assert tail.has_closed == (cut >= 2)
    tail.scan(GOING_AWAY[cut:])
    assert tail.has_closed
    assert tail.is_between_frames
