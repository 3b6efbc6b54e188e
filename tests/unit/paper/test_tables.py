from alexnet_cli.paper.experiments import EXPERIMENTS
from alexnet_cli.paper.result import RunProvenance
from alexnet_cli.paper.tables import claim_table, describe_protocol, describe_run, run_table
from tests.made_results import PROVENANCE, finished, relu_runs, result_of

RELU, LRN = EXPERIMENTS["relu"], EXPERIMENTS["lrn"]
RESULT = result_of("relu", relu_runs(), learning_rates={"relu": 0.01})


def test_the_tables_have_a_row_for_each_claim_and_run():
    headings, claims = claim_table(RELU, RESULT)
    assert claims[1] == (
        "ReLU reaches it six times faster", "6×", "6.04× ± 0.06×", "5.88× to 6.20×", "3", "agrees",
    )  # fmt: skip
    assert [len(row) for row in claims] == [len(headings)] * 2
    headings, runs = run_table(RELU, RESULT)
    assert [len(row) for row in runs] == [len(headings)] * 6
    assert describe_protocol(RELU, RESULT) == (
        "Geometric mean ± standard deviation over seeds; cifar10; lr of relu: 0.01; cpu (1 threads)"
    )


def test_what_limits_a_result_is_marked():
    short = result_of("relu", relu_runs(), max_epochs=4, data="shapes")
    verdicts = {row[-1] for row in claim_table(RELU, short)[1]}
    assert verdicts == {"agrees, shortened, on drawn images"}
    assert "longer training shortened to 4 epochs" in describe_protocol(RELU, short)
    unreached = RESULT.with_run(finished("tanh", 3, epochs=None))
    assert claim_table(RELU, unreached)[1][0][4] == "2 (1 not reached)"
    assert describe_protocol(RELU, result_of("relu")) == "No run that counts has finished yet"


def test_a_run_resumed_elsewhere_names_both_devices_and_commits():
    origin = {**PROVENANCE, "began_on": "cuda:0 (A card)", "ended_with": "beef" * 10}
    run = finished("relu", 1).model_copy(update={"provenance": RunProvenance(**origin)})
    _, (row,) = run_table(RELU, result_of("relu", [run]))
    assert row[-2:] == (
        "A processor, cpu (1 threads); began on cuda:0 (A card)",
        "c0ffeec0ffee, tested with beefbeefbeef",
    )


def test_a_run_is_described_by_its_outcome():
    outcomes = {
        "25 % training error after 4.00 epochs": finished("relu", 1, epochs=4.0),
        "25 % training error not reached": finished("relu", 1),
        "test error 13.00% (views: 10)": finished("13pct", 1, error=0.13, views=10),
    }
    for outcome, run in outcomes.items():
        assert describe_run(run) == f"3 epochs in 60 s, {outcome}"
