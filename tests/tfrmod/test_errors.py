import pickle

from tfrmod.errors import DatasetError, NetworkError


def test_error_survives_the_way_out_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(DatasetError("No such file.", missing=True)))
    assert str(error) == "No such file."
    assert error.missing


def test_errors_dead_network_is_no_missing_file() -> None:
    assert isinstance(NetworkError("No answer."), DatasetError)
    assert not NetworkError("No answer.").missing
