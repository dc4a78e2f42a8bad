from tests.tiny_network import CENTRES, discs, eagerly, knows_discs


def test_an_image_may_have_places_for_more_objects_than_the_configuration(tmp_path):
    network = knows_discs(tmp_path)
    network.config.DETECTION_MAX_INSTANCES = 2
    image = discs(CENTRES[0])[0][None]  # four discs
    with eagerly():
        found = [network.predictor.predict(image, times)[0] for times in (1, 1.5, 2, 1)]
    assert [len(each["scores"]) for each in found] == [2, 3, 4, 2]
    assert found[2]["scores"][:2].tolist() == found[0]["scores"].tolist()
