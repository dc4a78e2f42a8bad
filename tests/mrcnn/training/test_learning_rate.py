import keras
import pytest

from mrcnn.training.learning_rate import WarmUpAndDecay


def test_the_learning_rate_rises_and_falls():
    rate = WarmUpAndDecay(1e-3, 100)
    assert float(rate(0)) == pytest.approx(1e-4, rel=1e-3)  # the first of ten steps of the rise
    assert float(rate(50)) == pytest.approx(0.51e-3)
    assert float(rate(100)) == pytest.approx(2e-5, rel=1e-3)
    assert float(rate(130)) == pytest.approx(2e-5, rel=1e-3)


def test_a_training_in_two_parts_follows_one_cosine():
    rate, second = WarmUpAndDecay(1e-3, 100), WarmUpAndDecay(1e-3, 100, start=50)
    assert float(second(0)) == pytest.approx(0.2 * 0.51e-3)  # a rise of five steps
    assert float(second(10)) == pytest.approx(float(rate(60)))
    assert float(second(50)) == pytest.approx(float(rate(100)))


def test_an_optimiser_takes_it_and_it_can_be_stored():
    rate = WarmUpAndDecay(1e-3, 100, start=50)
    optimizer = keras.optimizers.SGD(rate)
    again = keras.optimizers.SGD.from_config(
        optimizer.get_config(), custom_objects={"WarmUpAndDecay": WarmUpAndDecay}
    )
    assert float(optimizer.learning_rate) == pytest.approx(0.2 * 0.51e-3)
    assert float(again.learning_rate) == pytest.approx(0.2 * 0.51e-3)
