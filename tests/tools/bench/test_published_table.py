"""The published table and the lines of the published script."""

from __future__ import annotations

from incv3d.tools.bench.published_table import PI3_AVERAGE_S, PUBLISHED, published_lines, published_rows


def test_the_lines_are_those_of_the_published_script_to_the_character() -> None:
    assert "\n".join(published_lines([1.8646, 2.17821, 1.9], 4.8962, 10)) == (
        "Run 000:\t1.8646 seconds\n"
        "Run 001:\t2.1782 seconds\n"
        "Run 002:\t1.9000 seconds\n"
        "---\n"
        "Best run: 1.8646\n"
        "Worst run: 2.1782\n"
        "Average run: 1.9809\n"
        "Build graph time: 4.8962\n"
        "Number of warmup runs: 10\n"
        "Number of test runs: 3"
    )


def test_the_table_has_four_machines_warm_and_cold() -> None:
    assert len(PUBLISHED) == 8
    assert [row.machine for row in published_rows(10)] == [row.machine for row in published_rows(0)]
    assert published_rows(0)[0].worst_s == 6.3338
    assert PI3_AVERAGE_S == 1.9805


def test_warm_ups_that_were_not_published_stand_beside_the_warm_rows() -> None:
    assert published_rows(3) == published_rows(10)
