//! A small collector of traces.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::span::SpanKind,
};
use prost::Message as _;

use crate::program::PATIENCE;

/// Listens until the test program ends, and keeps what it is sent.
pub(crate) struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    connections: usize,
    heads: Vec<String>,
    requests: Vec<ExportTraceServiceRequest>,
}

/// A span that was received.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    /// Empty for the root of a trace.
    pub(crate) parent: Vec<u8>,
    /// The spans that it is linked to.
    pub(crate) links: Vec<Vec<u8>>,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    /// A collector that accepts everything.
    pub(crate) fn start() -> Self {
        Self::listen(true)
    }

    /// A collector that accepts connections and never answers.
    pub(crate) fn start_silent() -> Self {
        Self::listen(false)
    }

    fn listen(answers: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::<Mutex<Received>>::default();
        let collector = Self { address, received: Arc::clone(&received) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                received.lock().unwrap().connections += 1;
                let received = Arc::clone(&received);
                thread::spawn(move || serve(stream, answers, &received));
            }
        });
        collector
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.received.lock().unwrap().connections
    }

    /// The heads of the requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.received.lock().unwrap().heads.clone()
    }

    /// Everything that was received, as text.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.received.lock().unwrap().requests)
    }

    /// The resource attributes of all senders.
    pub(crate) fn resources(&self) -> Vec<BTreeMap<String, String>> {
        let received = self.received.lock().unwrap();
        let resources = received.requests.iter().flat_map(|request| &request.resource_spans);
        let resources = resources.filter_map(|spans| spans.resource.as_ref());
        resources.map(|resource| attributes(&resource.attributes)).collect()
    }

    /// The spans that were received.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|spans| &spans.scope_spans).flat_map(|scope| &scope.spans);
        let span = |span: &opentelemetry_proto::tonic::trace::v1::Span| Span {
            name: span.name.clone(),
            kind: span.kind(),
            trace: span.trace_id.clone(),
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            links: span.links.iter().map(|link| link.span_id.clone()).collect(),
            attributes: attributes(&span.attributes),
        };
        spans.map(span).collect()
    }

    /// Waits until such a span is received.
    pub(crate) fn wait_for(&self, is_it: impl Fn(&Span) -> bool) -> Span {
        let began = Instant::now();
        loop {
            if let Some(span) = self.spans().into_iter().find(&is_it) {
                return span;
            }
            assert!(began.elapsed() < PATIENCE, "it does not come: {:#?}", self.spans());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Span {
    /// The span within which this one is.
    pub(crate) fn parent<'a>(&self, spans: &'a [Self]) -> Option<&'a Self> {
        spans.iter().find(|span| span.id == self.parent)
    }

    /// Its name, and those of the spans within which it is.
    pub(crate) fn path(&self, spans: &[Self]) -> Vec<String> {
        let mut path = vec![self.name.clone()];
        let mut span = self;
        while let Some(parent) = span.parent(spans) {
            path.push(parent.name.clone());
            span = parent;
        }
        path
    }
}

fn attributes(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
) -> BTreeMap<String, String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |it: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        it.value.as_ref()?.value.as_ref().map(text)
    };
    attributes.iter().map(|it| (it.key.clone(), value(it).unwrap_or_default())).collect()
}

/// Reads requests from a connection until it is closed.
fn serve(stream: TcpStream, answers: bool, received: &Mutex<Received>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().expect("a length"))
        });
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        if !answers {
            continue;
        }
        let request = ExportTraceServiceRequest::decode(&*body).expect("spans");
        let mut received = received.lock().unwrap();
        received.heads.push(head);
        received.requests.push(request);
        drop(received);
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                      Content-Length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
