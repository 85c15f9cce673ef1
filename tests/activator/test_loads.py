"""The corners that the golden set `activator_stats` leaves out."""

from activator.loads import Load, Loads, RevisionKey

KEY = RevisionKey(b"ns", b"rev")


def test_a_request_that_arrives_with_the_tick_keeps_its_entry() -> None:
    loads = Loads()
    assert loads.request_in(KEY, 1.0)
    # No time has passed, so the average is 0 although a request is inside.
    assert loads.report(1.0) == [Load(KEY, 0.0, 0.0)]
    assert loads.tracked == [KEY]
    loads.request_out(KEY, 1.5)
    assert loads.report(2.0) == [Load(KEY, 0.5, 0.0)]


def test_without_requests_there_is_nothing_to_report() -> None:
    assert Loads().report(1.0) == []
