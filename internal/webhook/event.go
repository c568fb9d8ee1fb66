package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// ContentType is the media type of a CloudEvent in structured JSON.
const ContentType = "application/cloudevents+json"

// Event is a CloudEvent 1.0 with JSON data. It is a struct of ours because the
// CloudEvents SDK brings reflection-based JSON and XML codecs for what is eight
// fields here; the tests read it back with that SDK.
type Event struct {
	ID      string    // unique within Source
	Source  string    // URI reference: who says so
	Type    string    // what happened: atoll.task.succeeded.v1
	Subject string    // to what; may be empty
	Time    time.Time // when; may be zero
	Data    any       // anything that encodes to JSON; nil: none
}

type eventJSON struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time,omitempty"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
}

// Encode returns the event in structured JSON, or an error if it lacks what
// CloudEvents requires. Equal events give equal bytes.
func (e Event) Encode() ([]byte, error) {
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return nil, errors.New("cloud event: id, source and type are required")
	}
	if _, err := url.Parse(e.Source); err != nil {
		return nil, fmt.Errorf("cloud event: source: %w", err)
	}
	out := eventJSON{SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject}
	if !e.Time.IsZero() {
		out.Time = e.Time.UTC().Format(time.RFC3339Nano)
	}
	if e.Data != nil {
		data, err := json.Marshal(e.Data)
		if err != nil {
			return nil, fmt.Errorf("cloud event: data: %w", err)
		}
		out.DataContentType, out.Data = "application/json", data
	}
	return json.Marshal(out)
}
