package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/coredns/corefile-migration/migration"
	"github.com/spf13/cobra"
)

// A default Corefile that kubeadm's migration knows, with values for its placeholders for the zone and the upstream.
type defaultCorefile struct {
	Version  string `json:"version"`
	Corefile string `json:"corefile"`
}

// newCorefilesCommand is `lab corefiles`. Without files it prints those defaults; with files it prints what an upgrade by kubeadm
// would report about them.
func newCorefilesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "corefiles [FILE...]",
		Short: "Print the default Corefiles of Kubernetes' releases, or what kubeadm's upgrade says of files",
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) > 0 {
				return tellNotices(files)
			}
			return json.NewEncoder(os.Stdout).Encode(defaultCorefiles())
		},
	}
}

func defaultCorefiles() []defaultCorefile {
	wildcards := strings.NewReplacer("***", "in-addr.arpa ip6.arpa", "*", "cluster.local")
	var defaults []defaultCorefile
	for _, version := range migration.ValidVersions() {
		// The field is not exported and has no getter. Default() only compares with it.
		release := reflect.ValueOf(migration.Versions).MapIndex(reflect.ValueOf(version))
		text := release.FieldByName("defaultConf").String()
		if text == "" {
			continue
		}
		var lines []string
		for _, line := range strings.Split(text, "\n") {
			words := strings.Fields(line)
			if len(words) > 0 && (words[0] == "forward" || words[0] == "proxy") {
				line = strings.Replace(line, "*", "10.0.0.2", 1)
			}
			lines = append(lines, wildcards.Replace(line))
		}
		defaults = append(defaults, defaultCorefile{version, strings.Join(lines, "\n") + "\n"})
	}
	return defaults
}

func tellNotices(files []string) error {
	versions := migration.ValidVersions()
	from, to := versions[len(versions)-2], versions[len(versions)-1]
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, ask := range []func(string, string, string) ([]migration.Notice, error){migration.Unsupported, migration.Deprecated} {
			notices, err := ask(from, to, string(text))
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			for _, notice := range notices {
				fmt.Printf("%s: %s\n", file, notice.ToString())
			}
		}
	}
	return nil
}
