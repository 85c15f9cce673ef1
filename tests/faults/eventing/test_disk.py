"""A disk that takes no more: 503 and never 202, and everything again when there is room."""

import resource
from pathlib import Path

from tests.faults.eventing.plant import PATIENT, all_arrived
from tests.support.dispatcher import EVENT, subscriber, surroundings


async def test_what_cannot_be_written_is_not_accepted_and_what_was_is_delivered(tmp_path: Path) -> None:
    async with surroundings(KNUV_CHANNELS="journal", KNUV_JOURNAL_DIR=str(tmp_path / "journal")) as world:
        sink = await world.sink()
        channel = await world.channel(subscriber(sink.url, delivery=PATIENT))
        accepted: set[str] = set()

        async def send(number: int) -> int:
            event = (EVENT[0], f"Ce-Id: {number}", *EVENT[2:])
            answer = await world.send(channel, event=event, body=bytes(4096))
            if answer.status == 202:
                accepted.add(str(number))
            return answer.status

        assert {await send(number) for number in range(20)} == {202}
        assert world.process is not None
        before = resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE)
        # Files cannot grow, so that each write fails as it does on a disk that is full.
        resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        assert {await send(number) for number in range(20, 40)} == {503}
        resource.prlimit(world.process.pid, resource.RLIMIT_FSIZE, before)
        assert {await send(number) for number in range(40, 60)} == {202}
        await world.kill()
        await world.start()
        assert len(accepted) == 40
        counts = await all_arrived(sink, accepted)
        assert not counts.keys() - accepted, "what was refused is its sender's to send again"
