"""How many temporal layers an HEVC stream has, and whether a picture is in the highest, is known before it is decoded."""

import av
import pytest

from tests.support.videos import moving_square
from transforms.decoding.temporal_layers import TemporalLayers


@pytest.fixture(scope="module", params=["mp4", "ts", "mkv"])
def opened(request, tmp_path_factory):
    """Returns, for a number of layers, an open file with a stream of so many."""
    folder = tmp_path_factory.mktemp("layers")

    def encode(layers):
        path = str(folder / f"{layers}.{request.param}")
        parameters = f"temporal-layers={layers}:bframes=3:b-adapt=0:b-pyramid=1:log-level=error"
        with av.open(path, "w") as container:
            stream = container.add_stream("libx265", rate=60, options={"x265-params": parameters})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(24):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moving_square(index), format="rgb24")))
            container.mux(stream.encode(None))
        return av.open(path)

    return encode


@pytest.mark.parametrize("layers", [1, 3])
def test_a_stream_says_how_many_layers_it_has_and_each_picture_in_which_it_is(opened, layers):
    with opened(layers) as container:
        found = TemporalLayers(container.streams.video[0].codec_context.extradata)
        assert found.number == layers
        highest = [found.is_highest(bytes(packet)) for packet in container.demux(video=0) if packet.size]
    assert len(highest) == 24
    assert sum(highest) == {1: 24, 3: 10}[layers]  # two of each four, except at the end


@pytest.mark.parametrize("layers", [1, 3])
def test_a_record_that_leaves_the_number_open_has_it_in_its_parameter_sets(opened, layers):
    with opened(layers) as container:
        record = bytearray(container.streams.video[0].codec_context.extradata)
    if record[0] == 1:  # as in MP4 and Matroska
        record[21] &= 0b11000111
    assert TemporalLayers(bytes(record)).number == layers


@pytest.mark.parametrize("length", range(23, 60))
def test_a_record_that_breaks_off_is_read_as_far_as_it_goes(opened, length):
    with opened(1) as container:
        record = container.streams.video[0].codec_context.extradata
    assert TemporalLayers(record[:21] + b"\x03" + record[22:length]).number in (0, 1)


@pytest.mark.parametrize("description", [None, b"", b"\x01", b"\x01" * 22, bytes(23), b"\x00\x00\x01\x40\x01\x0c"])
def test_a_stream_that_does_not_say_has_an_unknown_number(description):
    layers = TemporalLayers(description)
    assert layers.number == 0
    assert not layers.is_highest(b"\x00\x00\x01\x02\x01\xd0")


@pytest.mark.parametrize("packet", [b"", b"\x00", b"\x00\x00\x00", b"\xff\xff\xff\xff\x02", b"\x00\x00\x00\x01\x40"])
def test_a_packet_without_a_picture_is_in_no_layer(packet):
    record = bytearray(23)
    record[0], record[21] = 1, 0b1011
    layers = TemporalLayers(bytes(record))
    assert layers.number == 1
    assert not layers.is_highest(packet)
