package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// product is what the document is about.
type product struct {
	path, version string
	binary        []byte
	made          time.Time
}

// The part of CycloneDX 1.5 that we write (https://cyclonedx.org/docs/1.5/json/).
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Ref        string     `json:"bom-ref"`
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Licenses   []license  `json:"licenses"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	license struct {
		Expression string `json:"expression"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// cyclonedx writes the document. The same binary gives the same octets: its serial number is made from the binary's hash. A binary
// does not say which module needs which, so all of them hang on the product.
func cyclonedx(of product, parts []part) ([]byte, error) {
	sum := sha256.Sum256(of.binary)
	self := component{
		Ref: purl(of.path, of.version), Type: "application", Name: "posthouse", Version: of.version, PURL: purl(of.path, of.version),
		Hashes:   []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Licenses: []license{{"MIT"}},
	}
	doc := bom{
		Format: "CycloneDX", Spec: "1.5", Serial: serial(sum), Version: 1,
		Metadata:     metadata{Timestamp: of.made.Format(time.RFC3339), Component: self},
		Dependencies: []dependency{{Ref: self.Ref}},
	}
	for _, p := range parts {
		c := component{
			Ref: purl(p.path, p.version), Type: "library", Name: p.path, Version: p.version, PURL: purl(p.path, p.version),
			Licenses: []license{{p.license}},
		}
		if p.sum != "" {
			c.Properties = []property{{"posthouse:go.sum", p.sum}}
		}
		doc.Components = append(doc.Components, c)
		doc.Dependencies[0].DependsOn = append(doc.Dependencies[0].DependsOn, c.Ref)
		doc.Dependencies = append(doc.Dependencies, dependency{Ref: c.Ref})
	}
	out, err := json.MarshalIndent(doc, "", " ")
	return append(out, '\n'), err
}

// purl is a package URL of type golang.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// serial is a UUID (version 8: its bits are ours, RFC 9562 section 5.8) made from a hash.
func serial(sum [32]byte) string {
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
