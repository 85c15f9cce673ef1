// What Go's own text/template makes of templates: the source of request_log_templates.json.
//
// Reads a JSON object per line from stdin and writes one per line to stdout:
//
//	echo '{"Template": "{{.Response.Code}}", "Head": "GET / HTTP/1.1\r\nHost: h", "Code": 200}' | go run template_oracle.go
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"text/template"
)

type response struct {
	Code    int
	Size    int
	Latency float64
}

type revision struct {
	Name, Namespace, Service, Configuration, PodName, PodIP string
}

type input struct {
	Request  *http.Request
	Response *response
	Revision *revision
	TraceID  string
}

type testCase struct {
	Template string
	Head     string
	Code     int
	Size     int
	Latency  float64
	TraceID  string
}

type result struct {
	Template string `json:"template"`
	Head     string `json:"head,omitempty"`
	Code     int
	Size     int
	Latency  float64
	TraceID  string
	Kind     string `json:"kind"`
	Text     string `json:"text"`
}

func main() {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(make([]byte, 1<<20), 1<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for scanner.Scan() {
		var c testCase
		if err := json.Unmarshal(scanner.Bytes(), &c); err != nil {
			panic(err)
		}
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.Head + "\r\n\r\n")))
		if err != nil {
			panic(c.Head + err.Error())
		}
		request.RemoteAddr = "10.1.2.3:4567"
		r := result{c.Template, c.Head, c.Code, c.Size, c.Latency, c.TraceID, "text", ""}
		t, err := template.New("t").Parse(c.Template)
		if err != nil {
			r.Kind, r.Text = "syntax", err.Error()
		} else {
			var buffer bytes.Buffer
			in := &input{request, &response{c.Code, c.Size, c.Latency},
				&revision{"hello-00001", "default", "hello", "hello-conf", "pod-1", "10.0.0.9"}, c.TraceID}
			if err := t.Execute(&buffer, in); err != nil {
				r.Kind, r.Text = "failure", err.Error()
			} else {
				r.Text = buffer.String()
			}
		}
		out.Encode(r)
	}
}
