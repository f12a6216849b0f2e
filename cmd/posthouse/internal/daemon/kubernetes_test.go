package daemon

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/posthouse-mail/posthouse/internal/config"
)

// The parts of the documents of deploy/kubernetes.yaml: a field that is not here does not decode.
type (
	kubeMeta struct {
		Name, Namespace string
		Labels          map[string]string
	}
	kubeHead struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   kubeMeta
	}
	kubeNamespace struct {
		kubeHead `yaml:",inline"`
	}
	kubeSettings struct {
		kubeHead `yaml:",inline"`
		Data     map[string]string
	}
	kubeProbe struct {
		Exec             struct{ Command []string }
		PeriodSeconds    int `yaml:"periodSeconds"`
		TimeoutSeconds   int `yaml:"timeoutSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}
	kubeMount struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	}
	kubePort struct {
		Name          string
		ContainerPort int    `yaml:"containerPort"`
		Port          int    `yaml:"port"`
		TargetPort    string `yaml:"targetPort"`
	}
	kubeContainer struct {
		Name, Image     string
		Args            []string
		Ports           []kubePort
		StartupProbe    kubeProbe `yaml:"startupProbe"`
		ReadinessProbe  kubeProbe `yaml:"readinessProbe"`
		SecurityContext struct {
			AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
			Privileged               bool
			ReadOnlyRootFilesystem   bool                    `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop []string } `yaml:"capabilities"`
		} `yaml:"securityContext"`
		Resources    struct{ Requests, Limits map[string]string }
		VolumeMounts []kubeMount `yaml:"volumeMounts"`
	}
	kubeFile   struct{ Key, Path string }
	kubeVolume struct {
		Name      string
		Projected *struct {
			DefaultMode int `yaml:"defaultMode"`
			Sources     []struct {
				ConfigMap *struct{ Name string } `yaml:"configMap"`
				Secret    *struct {
					Name  string
					Items []kubeFile
				}
			}
		}
		EmptyDir *struct {
			Medium    string
			SizeLimit string `yaml:"sizeLimit"`
		} `yaml:"emptyDir"`
	}
	kubePod struct {
		AutomountServiceAccountToken  bool `yaml:"automountServiceAccountToken"`
		EnableServiceLinks            bool `yaml:"enableServiceLinks"`
		TerminationGracePeriodSeconds int  `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot        bool                  `yaml:"runAsNonRoot"`
			RunAsUser           int                   `yaml:"runAsUser"`
			RunAsGroup          int                   `yaml:"runAsGroup"`
			FSGroup             int                   `yaml:"fsGroup"`
			FSGroupChangePolicy string                `yaml:"fsGroupChangePolicy"`
			SeccompProfile      struct{ Type string } `yaml:"seccompProfile"`
			Sysctls             []struct{ Name, Value string }
		} `yaml:"securityContext"`
		Containers []kubeContainer
		Volumes    []kubeVolume
	}
	kubeSelector struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	kubeSet struct {
		kubeHead `yaml:",inline"`
		Spec     struct {
			ServiceName string `yaml:"serviceName"`
			Replicas    int
			Selector    kubeSelector
			Template    struct {
				Metadata kubeMeta
				Spec     kubePod
			}
			VolumeClaimTemplates []struct {
				Metadata kubeMeta
				Spec     struct {
					AccessModes []string `yaml:"accessModes"`
					Resources   struct{ Requests map[string]string }
				}
			} `yaml:"volumeClaimTemplates"`
		}
	}
	kubeService struct {
		kubeHead `yaml:",inline"`
		Spec     struct {
			Type                  string
			ExternalTrafficPolicy string `yaml:"externalTrafficPolicy"`
			Selector              map[string]string
			Ports                 []kubePort
		}
	}
)

// kubernetes reads the documents of the example, in their order, strictly.
func kubernetes(t *testing.T) (settings kubeSettings, set kubeSet, service kubeService) {
	t.Helper()
	text, err := os.ReadFile(deploy + "kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var namespace kubeNamespace
	for _, x := range []struct {
		into any
		head *kubeHead
		kind string
	}{
		{&namespace, &namespace.kubeHead, "v1 Namespace"}, {&settings, &settings.kubeHead, "v1 ConfigMap"},
		{&set, &set.kubeHead, "apps/v1 StatefulSet"}, {&service, &service.kubeHead, "v1 Service"},
	} {
		if err := d.Decode(x.into); err != nil {
			t.Fatalf("%s: %v", x.kind, err)
		}
		if is := x.head.APIVersion + " " + x.head.Kind; is != x.kind {
			t.Fatalf("%s, not %s", is, x.kind)
		}
		if x.kind != "v1 Namespace" && x.head.Metadata.Namespace != namespace.Metadata.Name {
			t.Errorf("%s is in no namespace of ours", x.kind)
		}
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("more documents: %v", err)
	}
	return settings, set, service
}

// portsOf are the ports of settings, by what the example calls them.
func portsOf(t *testing.T, l config.Listen) map[string]int {
	t.Helper()
	all := map[string]int{}
	for name, list := range map[string][]config.Address{
		"smtp": l.SMTP, "submission": l.Submission, "submissions": l.Submissions, "pop3": l.POP3, "pop3s": l.POP3S, "imap": l.IMAP, "imaps": l.IMAPS, "http": l.HTTP, "https": l.HTTPS,
	} {
		for i, a := range list {
			_, port, _ := strings.Cut(a.HostPort, ":")
			n, err := strconv.Atoi(port)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if i > 0 {
				name += "-" + port
			}
			all[name] = n
		}
	}
	return all
}

// kubeHouse is the settings of the example as the house reads them.
func kubeHouse(t *testing.T, settings kubeSettings) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "posthouse.toml")
	if err := os.WriteFile(file, []byte(settings.Data["posthouse.toml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestKubernetesPorts: the ports of the example are those of its settings, and those of mail are the ones that deploy/posthouse.toml has.
func TestKubernetesPorts(t *testing.T) {
	settings, set, service := kubernetes(t)
	c := kubeHouse(t, settings)
	example, err := config.Load(deploy + "posthouse.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := portsOf(t, c.Listen)
	for name, port := range portsOf(t, example.Listen) {
		if want[name] != port {
			t.Errorf("%s is %d in deploy/posthouse.toml, %d here", name, port, want[name])
		}
	}
	open := map[string]int{}
	for _, p := range set.Spec.Template.Spec.Containers[0].Ports {
		open[p.Name] = p.ContainerPort
		if len(p.Name) > 15 {
			t.Errorf("the name of a port has 15 characters at most: %s", p.Name)
		}
	}
	shown := map[string]int{}
	for _, p := range service.Spec.Ports {
		if shown[p.Name] = p.Port; p.TargetPort != p.Name {
			t.Errorf("%s leads to %s", p.Name, p.TargetPort)
		}
	}
	for name, port := range want {
		if open[name] != port || shown[name] != port {
			t.Errorf("%s: settings %d, pod %d, service %d", name, port, open[name], shown[name])
		}
	}
	if len(open) != len(want) || len(shown) != len(want) {
		t.Errorf("settings %v, pod %v, service %v", want, open, shown)
	}
}

// TestKubernetesPod: user, command, probes and paths are those of the container and its settings; it may do nothing that the unit may not.
func TestKubernetesPod(t *testing.T) {
	settings, set, service := kubernetes(t)
	c := kubeHouse(t, settings)
	file, err := os.ReadFile(deploy + "Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	container := string(file)
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(container)
	health := regexp.MustCompile(`(?m)^HEALTHCHECK .* CMD \["(.+)"\]$`).FindStringSubmatch(container)
	if user == nil || health == nil || !strings.Contains(container, `ENTRYPOINT ["/usr/bin/posthouse"]`) || !strings.Contains(container, `VOLUME ["`+c.Data+`"]`) {
		t.Fatal("deploy/Containerfile is not as it was")
	}
	pod := set.Spec.Template.Spec
	as := pod.SecurityContext
	if id := strconv.Itoa(as.RunAsUser); id != user[1] || strconv.Itoa(as.RunAsGroup) != user[2] || as.FSGroup != as.RunAsGroup || !as.RunAsNonRoot {
		t.Errorf("it runs as %s, the container as %s", id, user[1])
	}
	one := pod.Containers[0]
	const mounted = "/etc/posthouse/posthouse.toml"
	ready := append(strings.Split(health[1], `", "`), "--config", mounted)
	for what, p := range map[string]kubeProbe{"startup": one.StartupProbe, "readiness": one.ReadinessProbe} {
		if !slices.Equal(p.Exec.Command, ready) || p.TimeoutSeconds == 0 {
			t.Errorf("%s: %q, not %q", what, p.Exec.Command, ready)
		}
	}
	if !slices.Equal(one.Args, []string{"serve", "--config", mounted}) {
		t.Errorf("%q", one.Args)
	}
	s := one.SecurityContext
	if s.AllowPrivilegeEscalation || s.Privileged || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || as.SeccompProfile.Type != "RuntimeDefault" ||
		pod.AutomountServiceAccountToken || len(as.Sysctls) != 1 || as.Sysctls[0].Name != "net.ipv4.ip_unprivileged_port_start" || as.Sysctls[0].Value != "0" {
		t.Error("the pod may do more than it needs, or cannot bind its ports")
	}
	if float64(pod.TerminationGracePeriodSeconds) < 2*c.Limits.ShutdownFinish.Seconds() {
		t.Error("it is killed before it has ended")
	}
	if set.Spec.Replicas != 1 || service.Spec.ExternalTrafficPolicy != "Local" || set.Spec.ServiceName != service.Metadata.Name {
		t.Error("one pod, behind its service, that sees the addresses of clients")
	}
	for _, labels := range []map[string]string{set.Spec.Selector.MatchLabels, service.Spec.Selector} {
		if len(labels) == 0 || labels["app"] != set.Spec.Template.Metadata.Labels["app"] {
			t.Errorf("%v finds no pod", labels)
		}
	}
}

// TestKubernetesPaths: what the settings name is mounted, and what is mounted is there.
func TestKubernetesPaths(t *testing.T) {
	settings, set, _ := kubernetes(t)
	c := kubeHouse(t, settings)
	pod := set.Spec.Template.Spec
	volumes, files := map[string]bool{}, []string{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v.EmptyDir != nil || v.Projected != nil
		if v.Projected == nil {
			continue
		}
		if v.Projected.DefaultMode != 0o440 {
			t.Errorf("%s: mode %o", v.Name, v.Projected.DefaultMode)
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil && s.ConfigMap.Name == settings.Metadata.Name {
				files = append(files, "/etc/posthouse/posthouse.toml")
			}
			if s.Secret != nil {
				for _, f := range s.Secret.Items {
					files = append(files, "/etc/posthouse/"+f.Path)
				}
			}
		}
	}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Metadata.Name] = true
	}
	writable := map[string]bool{}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("%s is no volume", m.Name)
		}
		writable[m.MountPath] = !m.ReadOnly
	}
	if w, there := writable["/etc/posthouse"]; !writable[c.Data] || !there || w || !writable["/tmp"] {
		t.Errorf("mounts: %v", writable)
	}
	for _, p := range append([]string{"/etc/posthouse/posthouse.toml"}, c.TLS.Certificates[0].Cert, c.TLS.Certificates[0].Key) {
		if !slices.Contains(files, p) {
			t.Errorf("%s is not mounted: %q", p, files)
		}
	}
}
