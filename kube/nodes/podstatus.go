package nodes

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podStatus returns the status that a pod on one of our nodes ought to have at
// now, and, if that will change by itself, after which time. Asked again with
// its own answer it gives the same answer.
func podStatus(pod *corev1.Pod, hostIP, podIP string, now time.Time) (corev1.PodStatus, time.Duration) {
	st := *pod.Status.DeepCopy()
	if st.StartTime == nil {
		t := metav1.NewTime(now.Truncate(time.Second)) // what the API can hold
		st.StartTime = &t
	}
	start := *st.StartTime
	st.HostIP, st.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	st.PodIP, st.PodIPs = podIP, []corev1.PodIP{{IP: podIP}}

	ended, code, again := completion(pod, start.Time, now)
	end := metav1.NewTime(now.Truncate(time.Second))
	run := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: start}}
	exit := func(code int32) corev1.ContainerState {
		reason := "Completed"
		if code != 0 {
			reason = "Error"
		}
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, StartedAt: start, FinishedAt: end,
		}}
	}

	st.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		state := run
		if ended {
			state = exit(code)
		}
		st.ContainerStatuses = append(st.ContainerStatuses, containerStatus(pod, c, state, pod.Status.ContainerStatuses))
	}
	st.InitContainerStatuses = nil
	for _, c := range pod.Spec.InitContainers {
		state := exit(0)
		if sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways; sidecar && !ended {
			state = run
		}
		st.InitContainerStatuses = append(st.InitContainerStatuses, containerStatus(pod, c, state, pod.Status.InitContainerStatuses))
	}

	st.Phase = corev1.PodRunning
	if ended {
		st.Phase = corev1.PodSucceeded
		if code != 0 {
			st.Phase = corev1.PodFailed
		}
	}
	ready, reason := corev1.ConditionTrue, ""
	if ended {
		ready, reason = corev1.ConditionFalse, "PodCompleted"
	}
	setCondition(&st, corev1.PodReadyToStartContainers, boolStatus(!ended), "", now)
	setCondition(&st, corev1.PodInitialized, corev1.ConditionTrue, reason, now)
	setCondition(&st, corev1.ContainersReady, ready, reason, now)
	if !ended && !gatesOpen(pod) {
		ready, reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
	}
	setCondition(&st, corev1.PodReady, ready, reason, now)
	return st, again
}

// completion says whether a pod's containers have ended at now, with which
// code, and, if they will end, after which time.
func completion(pod *corev1.Pod, start, now time.Time) (ended bool, code int32, again time.Duration) {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || pod.Spec.RestartPolicy == "" {
		return false, 0, 0
	}
	after, err := time.ParseDuration(pod.Annotations[AnnotationCompleteAfter])
	if err != nil || after < 0 {
		return false, 0, 0
	}
	if left := start.Add(after).Sub(now); left > 0 {
		return false, 0, left
	}
	if n, err := strconv.ParseUint(pod.Annotations[AnnotationExitCode], 10, 8); err == nil {
		code = int32(n)
	}
	if code != 0 && pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
		return false, 0, 0 // it would be started again
	}
	return true, code, 0
}

func containerStatus(pod *corev1.Pod, c corev1.Container, state corev1.ContainerState, old []corev1.ContainerStatus) corev1.ContainerStatus {
	started := state.Running != nil
	sum := sha256.Sum256([]byte(string(pod.UID) + "/" + c.Name))
	image := sha256.Sum256([]byte(c.Image))
	st := corev1.ContainerStatus{
		Name:        c.Name,
		Image:       c.Image,
		ImageID:     fmt.Sprintf("%s@sha256:%x", c.Image, image),
		ContainerID: fmt.Sprintf("simulated://%x", sum),
		State:       state,
		Started:     &started,
		Ready:       started || state.Terminated.ExitCode == 0 && isInit(pod, c.Name),
	}
	// A container that has ended stays ended at the same time.
	for _, o := range old {
		if o.Name == c.Name && o.State.Terminated != nil && state.Terminated != nil {
			st.State = o.State
		}
	}
	return st
}

func isInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

func gatesOpen(pod *corev1.Pod) bool {
	for _, g := range pod.Spec.ReadinessGates {
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
		}) {
			return false
		}
	}
	return true
}

func boolStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// setCondition sets one condition and leaves those of others alone.
func setCondition(st *corev1.PodStatus, t corev1.PodConditionType, status corev1.ConditionStatus, reason string, now time.Time) {
	for i := range st.Conditions {
		if c := &st.Conditions[i]; c.Type == t {
			if c.Status != status {
				c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
			}
			c.Status, c.Reason, c.Message = status, reason, ""
			return
		}
	}
	st.Conditions = append(st.Conditions, corev1.PodCondition{
		Type: t, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	})
}
