package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

// Creates a cluster of any size: Services whose slices no controller manages, and Pods that no kubelet runs.
type cluster struct {
	api                                     kubernetes.Interface
	namespaces, services, endpoints         int
	headless, headlessEndpoints, pods, work int
	rate                                    float64
	churn                                   time.Duration
}

const endpointsOfSlice = 100

// newGenerateCommand is `lab generate`. It creates the objects that do not exist yet, and then changes some of them for a while.
func newGenerateCommand() *cobra.Command {
	var kubeconfig string
	c := &cluster{}
	command := &cobra.Command{
		Use:   "generate",
		Short: "Make a large cluster's Services, EndpointSlices and Pods, and change them for a while",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			config.QPS, config.Burst = -1, -1
			if c.api, err = kubernetes.NewForConfig(config); err != nil {
				return err
			}
			begun := time.Now()
			if err := c.make(command.Context()); err != nil {
				return err
			}
			fmt.Printf("made in %.1f s\n", time.Since(begun).Seconds())
			return c.change(command.Context())
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the cluster")
	flags.IntVar(&c.namespaces, "namespaces", 50, "namespaces ns-0, ns-1, …")
	flags.IntVar(&c.services, "services", 1000, "Services svc-0, svc-1, … with a cluster IP")
	flags.IntVar(&c.endpoints, "endpoints", 10, "endpoints of each of them")
	flags.IntVar(&c.headless, "headless", 10, "headless Services hl-0, hl-1, …")
	flags.IntVar(&c.headlessEndpoints, "headless-endpoints", 100, "named endpoints of each of them")
	flags.IntVar(&c.pods, "pods", 0, "running Pods")
	flags.IntVar(&c.work, "workers", 32, "requests at once")
	flags.DurationVar(&c.churn, "churn", 0, "go on to change objects for this long")
	flags.Float64Var(&c.rate, "rate", 20, "changes a second")
	return command
}

func (c *cluster) namespace(i int) string { return fmt.Sprintf("ns-%d", i%c.namespaces) }

// The address of the i-th Pod, and so of an endpoint, in 10.192.0.0/10.
func address(i int) string {
	first := uint32(10)<<24 | uint32(192)<<16
	at := first + uint32(i)%(1<<22)
	return netip.AddrFrom4([4]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)}).String()
}

func (c *cluster) make(ctx context.Context) error {
	steps := []struct {
		count int
		make  func(context.Context, int) error
	}{{c.namespaces, c.makeNamespace}, {c.services, c.makeService}, {c.headless, c.makeHeadless}, {c.pods, c.makePod}}
	for _, step := range steps {
		if err := c.each(ctx, step.count, step.make); err != nil {
			return err
		}
	}
	return nil
}

// each creates count objects with several workers. An object that exists already counts as created.
func (c *cluster) each(ctx context.Context, count int, do func(context.Context, int) error) error {
	numbers := make(chan int)
	failed := make(chan error, c.work)
	var workers sync.WaitGroup
	for range c.work {
		workers.Go(func() {
			for i := range numbers {
				if err := do(ctx, i); err != nil && !errors.IsAlreadyExists(err) {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range count {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

func (c *cluster) makeNamespace(ctx context.Context, i int) error {
	namespace := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: c.namespace(i)}}
	_, err := c.api.CoreV1().Namespaces().Create(ctx, namespace, meta.CreateOptions{})
	return err
}

func (c *cluster) makeService(ctx context.Context, i int) error {
	if err := c.createService(ctx, i, fmt.Sprintf("svc-%d", i), ""); err != nil {
		return err
	}
	return c.createSlices(ctx, i, fmt.Sprintf("svc-%d", i), i*c.endpoints, c.endpoints, false)
}

func (c *cluster) makeHeadless(ctx context.Context, i int) error {
	if err := c.createService(ctx, i, fmt.Sprintf("hl-%d", i), core.ClusterIPNone); err != nil {
		return err
	}
	first := c.services*c.endpoints + i*c.headlessEndpoints
	return c.createSlices(ctx, i, fmt.Sprintf("hl-%d", i), first, c.headlessEndpoints, true)
}

func (c *cluster) createService(ctx context.Context, i int, name, clusterIP string) error {
	service := &core.Service{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec:       core.ServiceSpec{ClusterIP: clusterIP, Ports: []core.ServicePort{{Name: "http", Port: 80}, {Name: "metrics", Port: 9090}}},
	}
	_, err := c.api.CoreV1().Services(c.namespace(i)).Create(ctx, service, meta.CreateOptions{})
	return err
}

func (c *cluster) createSlices(ctx context.Context, i int, service string, first, count int, named bool) error {
	for at := 0; at < count; at += endpointsOfSlice {
		slice := &discovery.EndpointSlice{
			ObjectMeta: meta.ObjectMeta{
				Name:   fmt.Sprintf("%s-%d", service, at/endpointsOfSlice),
				Labels: map[string]string{discovery.LabelServiceName: service, discovery.LabelManagedBy: "ndots-lab"},
			},
			AddressType: discovery.AddressTypeIPv4,
			Ports: []discovery.EndpointPort{
				{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(core.ProtocolTCP)},
				{Name: ptr.To("metrics"), Port: ptr.To[int32](9090), Protocol: ptr.To(core.ProtocolTCP)},
			},
		}
		for k := at; k < min(at+endpointsOfSlice, count); k++ {
			endpoint := discovery.Endpoint{Addresses: []string{address(first + k)}, Conditions: discovery.EndpointConditions{Ready: ptr.To(true)}}
			if named {
				endpoint.Hostname = ptr.To(fmt.Sprintf("%s-%d", service, k))
			}
			slice.Endpoints = append(slice.Endpoints, endpoint)
		}
		if _, err := c.api.DiscoveryV1().EndpointSlices(c.namespace(i)).Create(ctx, slice, meta.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) makePod(ctx context.Context, i int) error {
	pods := c.api.CoreV1().Pods(c.namespace(i))
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("pod-%d-5d4f8c7b9-x2x%d", i, i%10), Labels: map[string]string{"app": fmt.Sprintf("app-%d", i/10)}},
		Spec: core.PodSpec{
			AutomountServiceAccountToken: ptr.To(false),
			Containers:                   []core.Container{{Name: "main", Image: "registry.example/app:1"}},
			NodeName:                     fmt.Sprintf("node-%d", i%5000),
		},
	}
	pod, err := pods.Create(ctx, pod, meta.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status = core.PodStatus{
		Phase: core.PodRunning, PodIP: address(i), PodIPs: []core.PodIP{{IP: address(i)}},
		Conditions: []core.PodCondition{{Type: core.PodReady, Status: core.ConditionTrue}},
	}
	_, err = pods.UpdateStatus(ctx, pod, meta.UpdateOptions{})
	return err
}

// change replaces one endpoint of a Service, or a whole Service, at a time.
func (c *cluster) change(ctx context.Context) error {
	end := time.Now().Add(c.churn)
	changes := 0
	for ; time.Now().Before(end) && c.services > 0; changes++ {
		i := rand.IntN(c.services)
		if err := c.changeOne(ctx, i, changes); err != nil && !errors.IsConflict(err) {
			return err
		}
		time.Sleep(time.Duration(float64(time.Second) / c.rate))
	}
	if changes > 0 {
		fmt.Printf("%d changes\n", changes)
	}
	return ctx.Err()
}

func (c *cluster) changeOne(ctx context.Context, i, number int) error {
	namespace, name := c.namespace(i), fmt.Sprintf("svc-%d", i)
	if number%10 == 9 {
		if err := c.api.CoreV1().Services(namespace).Delete(ctx, name, meta.DeleteOptions{}); err != nil {
			return err
		}
		return c.createService(ctx, i, name, "")
	}
	slices := c.api.DiscoveryV1().EndpointSlices(namespace)
	slice, err := slices.Get(ctx, name+"-0", meta.GetOptions{})
	if err != nil || len(slice.Endpoints) == 0 {
		return err
	}
	at := rand.IntN(len(slice.Endpoints))
	slice.Endpoints[at].Addresses = []string{address(rand.IntN(1 << 22))}
	_, err = slices.Update(ctx, slice, meta.UpdateOptions{})
	return err
}
