from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.provenance import RunProvenance
from alexnet_cli.paper.tables import (
    HEADINGS,
    claim_rows,
    describe_protocol,
    describe_run,
    run_headings,
    run_rows,
)
from tests.made_results import PROVENANCE, finished, relu_runs, result_of

RELU, LRN = find_experiment("relu"), find_experiment("lrn")
RESULT = result_of("relu", relu_runs(), learning_rates={"relu": 0.01})


def test_the_tables_of_a_result():
    rows = claim_rows(RELU, RESULT)
    assert all(len(row) == len(HEADINGS) for row in rows)
    assert rows[1][1:] == ("6×", "6.04× ± 0.06×", "5.88× to 6.20×", "3", "agrees")
    assert describe_protocol(RELU, RESULT) == (
        "Geometric mean ± standard deviation over seeds; cifar10; lr of relu: 0.01; cpu (1 threads)"
    )
    assert len(run_rows(RELU, RESULT)) == 6
    assert all(len(row) == len(run_headings(RELU)) for row in run_rows(RELU, RESULT))


def test_a_verdict_on_less_than_the_published_training_is_marked():
    short = result_of("relu", relu_runs(), max_epochs=4, data="shapes")
    assert {row[-1] for row in claim_rows(RELU, short)} == {"agrees, shortened, on drawn images"}
    assert "longer training shortened to 4 epochs" in describe_protocol(RELU, short)


def test_seeds_that_did_not_reach_the_error_are_counted():
    result = RESULT.with_run(finished("tanh", 3, epochs=None))
    assert claim_rows(RELU, result)[0][4] == "2 (1 not reached)"


def test_errors_are_percentages_and_their_differences_points():
    names = {"13pct": 0.13, "13pct with LRN": 0.12, "11pct": 0.115, "11pct without LRN": 0.125}
    runs = [
        finished(arm, seed, error=error + seed / 1e4, views=10)
        for arm, error in names.items() for seed in (1, 2, 3)
    ]  # fmt: skip
    rows = claim_rows(LRN, result_of("lrn", runs))
    assert rows[0][2] == "13.02% ± 0.01%"
    assert rows[2][2:] == (
        "-1.00 ± 0.00 points", "-1.00 to -1.00 points", "3", "agrees"
    )  # fmt: skip
    assert run_rows(LRN, result_of("lrn", runs))[0][4] == "13.01% (12.01% to 14.01%)"


def test_a_run_resumed_elsewhere_names_both_places():
    origin = RunProvenance(
        **{**PROVENANCE, "began_on": "cuda:0 (A card)", "ended_with": "beef" * 10}
    )
    run = finished("relu", 1, epochs=4.0).model_copy(update={"provenance": origin})
    row = run_rows(RELU, result_of("relu", [run]))[0]
    assert row[-2:] == (
        "A processor, cpu (1 threads); began on cuda:0 (A card)",
        "c0ffeec0ffee, tested with beefbeefbeef",
    )


def test_the_outcome_of_a_run():
    assert describe_run(finished("relu", 1, epochs=4.0)) == (
        "3 epochs in 60 s, 25 % training error after 4.00 epochs"
    )
    assert describe_run(finished("relu", 1)) == "3 epochs in 60 s, 25 % training error not reached"
    assert describe_run(finished("13pct", 1, error=0.13, views=10)) == (
        "3 epochs in 60 s, test error 13.00% (views: 10)"
    )


def test_a_result_without_runs():
    assert describe_protocol(RELU, result_of("relu")) == "No run that counts has finished yet"
