use std::{env, io, io::Write};

use stoa::{
    app::{App, Environment},
    control::ControlSocket,
    logging::Logging,
    metrics::Metrics,
};
use stoa_base::Random;
use stoa_config::{Config, DatabaseUrl};
use stoa_http::server::{BindError, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, ConfigArgs, block_on};

/// Runs the server until it gets a signal to stop.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = args.load()?;
    let logging = Logging::start(&config, Random::system())?;
    let outcome = block_on(serve(config, args, &logging, out));
    logging.stop();
    outcome
}

async fn serve(
    config: Config,
    args: &ConfigArgs,
    logging: &Logging,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let signals = Signals::listen().map_err(CliError::Signal)?;
    let metrics = Metrics::install()?;
    let app = App::start(config.clone(), Environment::default()).await?;
    logging.set_node(app.state().nodes.incarnation());
    let (clients, measurers) = match bind(&config).await {
        Ok(listeners) => listeners,
        Err(error) => {
            app.stop().await;
            return Err(error.into());
        }
    };
    let greeting = greeting(&config, args, &clients, &measurers);

    let state = app.state().clone();
    let mut beside = vec![tokio::spawn(metrics.clone().upkeep())];
    match ControlSocket::bind(&config.data_dir) {
        Ok(socket) => beside.push(tokio::spawn(socket.run(state.clone()))),
        Err(error) => tracing::warn!(%error, "commands cannot reach this server"),
    }
    let serving = [
        tokio::spawn(clients.run(app.router(), state.stopping.clone())),
        tokio::spawn(measurers.run(metrics.router(state.clone()), state.stopping.clone())),
    ];
    drop(state);
    // Last, because a script that reads this line may connect at once.
    if let Err(error) = out.write_all(greeting.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot write the greeting");
    }

    let outcome = tokio::select! {
        signal = signals.wait() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        () = app.broken() => Err(CliError::Broken),
    };
    app.begin_stop();
    for task in beside {
        task.abort();
        // The task was aborted or has ended by itself.
        let _ = task.await;
    }
    for listener in serving {
        if let Err(error) = listener.await {
            tracing::error!(%error, "a listener failed");
        }
    }
    app.stop().await;
    tracing::info!("stopped");
    outcome
}

/// The listeners for clients and for metrics.
async fn bind(config: &Config) -> Result<(Server, Server), BindError> {
    Ok((Server::bind(&config.listen.client).await?, Server::bind(&config.listen.metrics).await?))
}

/// The signals that tell the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers the handlers; from then on the signals no longer end the process.
    fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    async fn wait(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Prints the addresses, the location of the data, and what to do next.
fn greeting(config: &Config, args: &ConfigArgs, clients: &Server, measurers: &Server) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let server_name = &config.server_name;
    let for_clients = urls(clients, "");
    let for_metrics = urls(measurers, "/metrics");
    let data_dir = config.data_dir.display();
    let data = match config.database_url() {
        DatabaseUrl::Sqlite(file) => format!("{data_dir}, SQLite in {}", file.display()),
        DatabaseUrl::Postgres(url) => format!("{data_dir}, PostgreSQL at {url}"),
    };
    let first_client = for_clients.split(", ").next().unwrap_or_default();
    let public_url = config.public_base_url.as_ref().map(ToString::to_string);
    let homeserver = public_url.as_deref().unwrap_or(first_client);
    let program = program(args);
    format!(
        "Stoa {version} serves {server_name}.

  clients   {for_clients}
  metrics   {for_metrics}
  data      {data}

To create the first account, an admin, run in another terminal:

  {program} create-user --admin alice

Then log in with a Matrix client:

  homeserver  {homeserver}
  user        @alice:{server_name}
"
    )
}

fn urls(server: &Server, path: &str) -> String {
    let urls: Vec<_> =
        server.addresses().map(|address| format!("http://{address}{path}")).collect();
    if urls.is_empty() { "off".to_owned() } else { urls.join(", ") }
}

/// The program as it was called, with its configuration option.
fn program(args: &ConfigArgs) -> String {
    let program = env::args().next().unwrap_or_else(|| "stoa".to_owned());
    match &args.config {
        Some(file) => format!("{program} --config {}", file.display()),
        None => program,
    }
}
