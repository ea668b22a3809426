"""A GPU is noticed by its driver's control device, and no library is loaded to find out."""

from transforms.decoding import gpus


def test_a_gpu_is_there_if_its_control_device_is(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "CONTROL_DEVICE", tmp_path / "nvidiactl")
    assert not gpus.has_nvidia_gpu()
    (tmp_path / "nvidiactl").touch()
    assert gpus.has_nvidia_gpu()
