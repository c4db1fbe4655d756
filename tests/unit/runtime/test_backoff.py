from kubelet_plugin.runtime.settings import Backoff, Settings


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_reset() -> None:
    backoff = Backoff(Settings(retry_first=1, retry_most=5))
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1
