"""Controllers at work over a registry, with the test in the place of the node."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.controllers.frame.queue import FIRST_S, LONGEST_S, WorkQueue
from retort.launch.cluster.controllers.jobsets.building import RUNTIME, TRAINJOB
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import EVENT, NAMESPACE, POD
from retort.launch.cluster.objects.deletion import delete
from tests.launch.cluster.controllers.objects import ended, running
from tests.launch.cluster.controllers.playing import CLAIM, PYTORCHJOB, SERVICE, Play, playing


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with playing(tmp_path) as one:
        yield one


def a_job(
    workers: int = 2, restarts: str = "ExitCode", cpu: str = "1", **policy: object
) -> JSONObject:
    resources = {"requests": {"cpu": cpu}}
    container = {"name": "pytorch", "image": "x:1", "resources": resources}
    worker = {
        "replicas": workers,
        "restartPolicy": restarts,
        "template": {"spec": {"containers": [container]}},
    }
    return {
        "metadata": {"name": "job"},
        "spec": {
            "runPolicy": policy,
            "elasticPolicy": {},
            "pytorchReplicaSpecs": {"Worker": worker},
        },
    }


def a_pod(name: str, claim: str = "", **requests: str) -> JSONObject:
    container = {"name": "c", "image": "x:1", "resources": {"requests": requests}}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    return {"metadata": {"name": name}, "spec": {"containers": [container], "volumes": volumes}}


def a_claim(name: str, **spec: object) -> JSONObject:
    resources = {"requests": {"storage": "1Gi"}}
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": resources, **spec},
    }


def test_a_job_runs_loses_a_pod_and_completes(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(cleanPodPolicy="Running"))
    pods = play.placed(2)
    assert set(pods) == set(play.all(SERVICE)) == {"job-worker-0", "job-worker-1"}
    assert {one["spec"]["nodeName"] for one in pods.values()} == {"here"}
    for name in pods:
        play.be(name, running())
    play.wait_true(PYTORCHJOB, "job", "Running")
    play.be("job-worker-1", ended(137))
    again = play.wait_other(POD, "job-worker-1", pods["job-worker-1"]["metadata"]["uid"])
    assert again["status"]["phase"] == "Pending"
    assert play.wait_event("job", "PyTorchJobRestarting")
    play.placed(2)
    play.be("job-worker-1", running())
    play.wait_true(PYTORCHJOB, "job", "Running")
    play.be("job-worker-0", ended(0))
    job = play.wait_true(PYTORCHJOB, "job", "Succeeded")
    assert job["status"]["completionTime"]
    play.wait_for(POD, "job-worker-1", lambda pod: "deletionTimestamp" in pod["metadata"])
    play.gone("job-worker-1")
    assert set(play.wait(POD, lambda found: len(found) == 1)) == {"job-worker-0"}
    said = {reason for _, reason, _ in play.events("job")}
    assert said >= {"SuccessfulCreatePod", "SuccessfulCreateService", "ExitedWithCode"}
    assert said >= {"PyTorchJobSucceeded", "SuccessfulDeletePod", "SuccessfulDeleteService"}


def test_a_deadline_passes_by_annotation(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(activeDeadlineSeconds=86_400, cleanPodPolicy="All"))
    for name in play.placed(2):
        play.be(name, running())
    play.annotate(PYTORCHJOB, "job", **{"retort/deadline": "passed"})
    job = play.wait_true(PYTORCHJOB, "job", "Failed")
    assert "longer than specified deadline" in job["status"]["conditions"][-1]["message"]
    play.wait(
        POD, lambda found: all("deletionTimestamp" in one["metadata"] for one in found.values())
    )


def test_a_deadline_of_a_second_passes_by_itself(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(activeDeadlineSeconds=1))
    play.wait_true(PYTORCHJOB, "job", "Failed")


def test_a_suspended_job_waits_and_goes_on(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(suspend=True))
    play.wait_true(PYTORCHJOB, "job", "Suspended")
    assert play.all(POD) == {}

    def suspend(value: bool) -> None:
        play.change(PYTORCHJOB, "job", lambda item: item["spec"]["runPolicy"].update(suspend=value))

    suspend(False)
    for name in play.placed(2):
        play.be(name, running())
    play.wait_true(PYTORCHJOB, "job", "Running")
    suspend(True)
    play.wait(SERVICE, lambda found: not found)
    play.reap()
    play.wait(POD, lambda found: not found)
    suspend(False)
    play.placed(2)


def test_pods_wait_for_room_and_are_placed_when_it_is_there(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(workers=3, cpu="2"))
    message = play.wait_event("job-worker-2", "FailedScheduling")
    assert message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    waiting = play.get(POD, "job-worker-2")
    (condition,) = waiting["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert (waiting["status"]["phase"], condition["message"]) == ("Pending", message)
    play.wait_event("job", "Unschedulable")  # the job tells of it
    for name in ("job-worker-0", "job-worker-1"):
        play.be(name, ended(0))
    play.wait_for(POD, "job-worker-2", lambda pod: pod["spec"].get("nodeName") == "here")
    assert play.wait_event("job-worker-2", "Scheduled") == (
        "Successfully assigned default/job-worker-2 to here"
    )


def test_a_claim_becomes_a_folder_and_its_pods_are_placed(play: Play, tmp_path: Path) -> None:
    play.make(POD, a_pod("early", "runs"))
    assert 'persistentvolumeclaim "runs" not found' in play.wait_event("early", "FailedScheduling")
    play.make(CLAIM, a_claim("runs"))
    claim = play.wait_for(CLAIM, "runs", lambda one: one["status"]["phase"] == "Bound")
    assert claim["status"]["capacity"] == {"storage": "1Gi"}
    assert claim["status"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["volumeName"] == f"pvc-{claim['metadata']['uid']}"
    folder = tmp_path / "claims" / "default" / "runs"
    assert folder.stat().st_mode & 0o777 == 0o777
    play.wait_for(POD, "early", lambda pod: pod["spec"].get("nodeName"))


def test_a_claim_of_another_class_stays_pending_and_says_why(play: Play, tmp_path: Path) -> None:
    play.make(CLAIM, a_claim("fast", storageClassName="fast"))
    play.make(CLAIM, a_claim("none", storageClassName=""))
    play.make(POD, a_pod("waits", "fast"))
    message = play.wait_event("fast", "ProvisioningFailed")
    assert message == 'storageclass.storage.k8s.io "fast" not found'
    assert "no storage class is set" in play.wait_event("none", "FailedBinding")
    assert "unbound immediate" in play.wait_event("waits", "FailedScheduling")
    assert {one["status"]["phase"] for one in play.all(CLAIM).values()} == {"Pending"}
    assert not (tmp_path / "claims").exists()


def test_a_claim_stays_until_no_pod_uses_it_and_a_new_one_is_empty(
    play: Play, tmp_path: Path
) -> None:
    old = play.make(CLAIM, a_claim("runs"))
    play.make(POD, a_pod("user", "runs"))
    play.placed(1)
    folder = tmp_path / "claims" / "default" / "runs"
    (folder / "result").write_text("kept", "utf-8")
    delete(play.registry, CLAIM, "default", "runs")
    play.make(POD, a_pod("late", "runs"))
    assert "is being deleted" in play.wait_event("late", "FailedScheduling")
    play.be("user", ended(0, "c"))
    play.wait(CLAIM, lambda found: not found)
    play.make(CLAIM, a_claim("runs"))
    play.wait_for(CLAIM, "runs", lambda one: one["status"]["phase"] == "Bound")
    assert list(folder.iterdir()) == []
    kept = tmp_path / "claims" / ".released" / "default" / f"runs.{old['metadata']['uid']}"
    assert (kept / "result").read_text("utf-8") == "kept"


def test_a_claim_that_cannot_be_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("in the way", "utf-8")
    with playing(tmp_path) as play:
        play.make(CLAIM, a_claim("runs"))
        assert "failed to provision" in play.wait_event("runs", "ProvisioningFailed")
        (tmp_path / "claims").unlink()
        play.wait_for(CLAIM, "runs", lambda one: one["status"]["phase"] == "Bound")


def test_the_next_controllers_go_on_where_the_last_ones_were(tmp_path: Path) -> None:
    with playing(tmp_path) as play:
        play.make(PYTORCHJOB, a_job())
        pods = play.placed(2)
    with playing(tmp_path) as play:
        for name in pods:
            play.be(name, ended(0))
        play.wait_true(PYTORCHJOB, "job", "Succeeded")
        assert {one["metadata"]["uid"] for one in play.all(POD).values()} == {
            one["metadata"]["uid"] for one in pods.values()
        }


def test_objects_that_no_controller_understands_do_not_stop_the_others(play: Play) -> None:
    odd = a_job()
    odd["metadata"]["name"] = "odd"
    odd["spec"]["runPolicy"] = {"activeDeadlineSeconds": "soon"}
    play.make(PYTORCHJOB, odd)
    play.make(TRAINJOB, {"metadata": {"name": "odd"}, "spec": {"runtimeRef": "none"}})
    play.make(RUNTIME, {"metadata": {"name": "none"}, "spec": {"mlPolicy": {}, "template": {}}})
    play.make(PYTORCHJOB, a_job())
    play.wait(POD, lambda found: {"job-worker-0", "job-worker-1"} <= set(found))


def test_a_namespace_goes_with_all_that_is_in_it(play: Play) -> None:
    play.registry.create(NAMESPACE, "", {"metadata": {"name": "brief"}})
    brief = Play(play.registry, "brief")
    brief.make(CLAIM, a_claim("runs"))
    brief.make(PYTORCHJOB, a_job())
    brief.make(POD, a_pod("user", "runs"))
    for name in brief.placed(3):
        brief.be(name, running())
    delete(play.registry, NAMESPACE, "", "brief")
    brief.wait(
        POD, lambda found: all("deletionTimestamp" in one["metadata"] for one in found.values())
    )
    brief.reap()
    with play.registry.watch(NAMESPACE) as changes:
        while play.registry.find(NAMESPACE, "", "brief") is not None:
            next(iter(changes))
    assert brief.all(CLAIM) == {}


def test_what_is_forgotten_before_it_was_seen_is_done_all_the_same(tmp_path: Path) -> None:
    with playing(tmp_path, history=3) as play:
        with play.registry.store.lock:  # the controllers cannot act meanwhile
            for number in range(8):
                play.make(CLAIM, a_claim(f"c{number}"))
        play.wait(
            CLAIM, lambda found: {one["status"]["phase"] for one in found.values()} == {"Bound"}
        )


def test_what_happens_again_is_counted_in_one_event(play: Play) -> None:
    play.make(PYTORCHJOB, a_job(workers=1, restarts="OnFailure"))
    for _ in range(3):
        uid = play.placed(1)["job-worker-0"]["metadata"]["uid"]
        play.be("job-worker-0", ended(1))
        play.wait_other(POD, "job-worker-0", uid)
    made = play.wait(
        EVENT,
        lambda found: [
            one
            for one in found.values()
            if one["reason"] == "SuccessfulCreatePod" and one["count"] == 4
        ],
    )
    assert sum(one["reason"] == "SuccessfulCreatePod" for one in made.values()) == 1


def test_controllers_leave_no_thread_behind(tmp_path: Path) -> None:
    with playing(tmp_path):
        assert any(one.name == "controllers" for one in threading.enumerate())
    assert not any(one.name == "controllers" for one in threading.enumerate())


def test_a_queue_holds_each_key_once_and_lets_failures_wait_longer() -> None:
    now = 0.0
    queue: WorkQueue[str] = WorkQueue(lambda: now)
    queue.add("b", 5.0)
    queue.add("a")
    queue.add("a")
    queue.add("b", 9.0)
    assert (queue.take(), queue.take(), queue.wait_s()) == ("a", None, 5.0)
    queue.add("b")
    assert (queue.take(), queue.wait_s()) == ("b", None)
    waits = []
    for _ in range(15):
        queue.retry("a")
        waits.append(queue.wait_s() or 0.0)
        now += waits[-1]
        assert queue.take() == "a"
    assert waits[:3] == pytest.approx([FIRST_S, 2 * FIRST_S, 4 * FIRST_S])
    assert waits[-1] == pytest.approx(LONGEST_S)
    queue.forget("a")
    queue.retry("a")
    assert queue.wait_s() == pytest.approx(FIRST_S)
