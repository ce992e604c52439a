"""Pictures over real sockets, on both transports; decoder processes are fakes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from server.config import Settings
from server.config.inputs import ImageSettings, InputSettings
from server.dialects.native.pictures import IMAGE_TYPES
from server.serving.decoders.jobs import JOBS
from tests.http.test_http import assert_problem
from tests.support.fake_decoder import FakeDecoders
from tests.support.harness import JSON, FakeModel, over_http, serving, with_settings
from tests.support.picture_requests import WAYS, Way, image_body
from tests.support.pictures import base, saved

PATHS = {
    "native": "/predict",
    "tfserving": "/v1/models/my_best_model:predict",
    "v2": "/v2/models/my_best_model/infer",
}
PICTURES = Signature(
    (TensorSpec("image", (8, 8, 3), "float32"),), (TensorSpec("y", (1,), "float32"),)
)
FILE = saved(base(64, 64), "PNG")
FIRST_LEVEL = float(np.asarray(base(64, 64).resize((8, 8), 2))[0, 0, 0])
ANSWER = 3 * FIRST_LEVEL + 1


def settings(**image: object) -> Settings:
    inputs = (InputSettings("image", ImageSettings.of(image)),)
    return with_settings(model={"inputs": inputs})


@pytest.mark.parametrize("way", WAYS)
@over_http
async def test_pictures_are_decoded_by_decoder_processes(way: Way) -> None:
    decoders = FakeDecoders(JOBS)
    async with serving(FakeModel(PICTURES), settings(), start_decoder=decoders) as server:
        sent = way([FILE])

        answer = await server.ask("POST", PATHS[sent.dialect], sent.headers, sent.body)

        assert answer.status == 200, answer.body
        assert str(ANSWER).encode() in answer.body
        assert [decoder.jobs for decoder in decoders.started] == [["decode"]]


@over_http
async def test_a_damaged_picture_is_a_problem() -> None:
    async with serving(FakeModel(PICTURES), settings(), start_decoder=FakeDecoders(JOBS)) as server:
        sent = image_body([FILE[:-40]])

        answer = await server.ask("POST", "/predict", sent.headers, sent.body)

        assert_problem(answer, 422, "invalid-data", "errors")
        assert answer.json["detail"] == "The picture for image is damaged"


@over_http
async def test_without_the_setting_the_problem_shows_it() -> None:
    async with serving(FakeModel(PICTURES), with_settings()) as server:
        sent = image_body([FILE])

        answer = await server.ask("POST", "/predict", sent.headers, sent.body)

        assert_problem(answer, 415, "unsupported-media-type")
        assert "{model: {inputs: {image: {image: {method: bilinear" in answer.json["detail"]


@over_http
async def test_a_415_lists_the_media_types_of_pictures_that_are_taken() -> None:
    async with serving(FakeModel(PICTURES), settings(), start_decoder=FakeDecoders(JOBS)) as server:
        answer = await server.ask("POST", "/predict", {"Content-Type": "image/tiff"}, FILE)

        assert_problem(answer, 415, "unsupported-media-type")
        accepted = answer["Accept-Post"].split(", ")
        assert accepted[:2] == ["application/json", "application/x-npy"]
        assert {"image/jpeg", "image/png", "multipart/form-data"} <= {*accepted[2:]}


@over_http
async def test_settings_that_do_not_fit_the_model_reject_it() -> None:
    wrong = replace(settings().model.inputs[0], name="photo")
    with pytest.raises(Exception, match=r"inputs\.photo: the model has no such input"):
        async with serving(FakeModel(PICTURES), with_settings(model={"inputs": (wrong,)})):
            pass


@over_http
async def test_the_document_has_an_example_of_every_way_in_json_that_is_answered() -> None:
    async with serving(FakeModel(PICTURES), settings(), start_decoder=FakeDecoders(JOBS)) as server:
        document = (await server.ask("GET", "/openapi.json")).json
        shown = {
            name: example["value"]
            for name, example in document["components"]["examples"].items()
            if "one-picture" in name
        }

        assert {name.partition("-")[0] for name in shown} == set(PATHS)
        for name, value in shown.items():
            path = PATHS[name.partition("-")[0]]
            answer = await server.ask(
                "POST", path, {"Content-Type": JSON}, json.dumps(value).encode()
            )
            assert answer.status == 200, answer.body
        bodies = document["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert {*IMAGE_TYPES, "multipart/form-data"} < set(bodies)
