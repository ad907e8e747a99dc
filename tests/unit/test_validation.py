import numpy as np
import pytest
from worlds import sparse

from geodiffrecon.errors import GridMismatch, InvalidParameter, NoObservations
from geodiffrecon.validation import evaluate


@pytest.mark.parametrize("which", ["counts", "plumes"])
def test_both_methods_are_scored_on_the_same_frames(which, request):
    model = request.getfixturevalue(f"{which}_model")
    cube = request.getfixturevalue(f"{which}_cube")
    found = evaluate(model, cube, masks=2, samples=4)
    assert [row["method"] for row in found["rows"]] == ["prior", "quick"]
    assert found["first"] >= model.trained["end"]
    for row in found["rows"]:
        assert 0 < row["mae"] < row["rmse"]
        assert 0 < row["crps"] < row["mae"]
        assert 0.5 < row["coverage90"] <= 1
        assert row["peak_mb"] > 0


def test_scores_are_repeatable(counts_model, counts_cube):
    drop = ("seconds", "peak_mb")
    one, two = (evaluate(counts_model, counts_cube, masks=1, samples=4)["rows"] for _ in range(2))
    assert [{k: v for k, v in r.items() if k not in drop} for r in one] == [
        {k: v for k, v in r.items() if k not in drop} for r in two
    ]


def test_coverage_does_not_depend_on_the_number_of_draws(counts_model, counts_cube):
    few, many = (
        evaluate(counts_model, counts_cube, masks=1, samples=k)["rows"][1] for k in (20, 100)
    )
    assert few["coverage90"] == pytest.approx(many["coverage90"], abs=1e-9)
    assert few["crps"] == pytest.approx(many["crps"], rel=0.03)


def test_training_frames_are_refused_unless_asked_for(counts_model, counts_cube):
    with pytest.raises(InvalidParameter, match="in-sample"):
        evaluate(counts_model, counts_cube, start="2024-01-02")
    found = evaluate(counts_model, counts_cube, masks=1, samples=0, in_sample=True)
    assert found["in_sample"]
    assert np.isfinite(found["rows"][0]["mae"])


def test_unfit_histories_are_refused(counts_model, counts_cube, plumes_cube):
    with pytest.raises(GridMismatch):
        evaluate(counts_model, plumes_cube)
    with pytest.raises(GridMismatch, match="fine"):
        evaluate(counts_model, sparse(counts_cube))
    with pytest.raises(NoObservations):
        evaluate(counts_model, counts_cube, start="2030-01-01")
