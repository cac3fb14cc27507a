use std::{env, io, io::Write, net::SocketAddr};

use stoa::{
    app::{App, Environment},
    control::ControlSocket,
    http::server::Server,
    logging,
    metrics::Metrics,
};
use stoa_config::{Config, DatabaseUrl};
use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ConfigArgs, block_on};

/// Runs the server until it is told to stop.
pub(super) fn run(args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = args.load()?;
    logging::start(&config.log)?;
    block_on(serve(config, args, out))
}

async fn serve(config: Config, args: &ConfigArgs, out: &mut impl Write) -> Result<(), CliError> {
    let metrics = Metrics::install()?;
    let app = App::start(config.clone(), Environment::default()).await?;
    let clients = Server::bind(&config.listen.client).await?;
    let measurers = Server::bind(&config.listen.metrics).await?;
    greet(out, &config, args, &clients, &measurers)?;

    let stopping = app.state().stopping.clone();
    let router = app.router();
    let serving = tokio::spawn(clients.run(router, stopping.clone()));
    let measuring_router = metrics.clone().router(app.state().clone());
    let measuring = tokio::spawn(measurers.run(measuring_router, stopping));
    let upkeep = tokio::spawn(metrics.upkeep());
    let control = match ControlSocket::bind(&config.data_dir) {
        Ok(socket) => Some(tokio::spawn(socket.run(app.state().clone()))),
        Err(error) => {
            tracing::warn!(%error, "commands cannot reach this server");
            None
        }
    };

    let signal = wait_for_signal().await.map_err(CliError::Signal)?;
    tracing::info!(signal, "stopping");
    app.begin_stop();
    for task in control.into_iter().chain([upkeep]) {
        task.abort();
        // It was aborted, or has ended by itself.
        let _ = task.await;
    }
    for listener in [serving, measuring] {
        if let Err(error) = listener.await {
            tracing::error!(%error, "a listener broke");
        }
    }
    app.stop().await;
    tracing::info!("stopped");
    Ok(())
}

async fn wait_for_signal() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Says what is served, where the data is, and what to do next.
fn greet(
    out: &mut impl Write,
    config: &Config,
    args: &ConfigArgs,
    clients: &Server,
    measurers: &Server,
) -> io::Result<()> {
    let urls = |addresses: Vec<SocketAddr>, path: &str| {
        let urls = addresses.iter().map(|address| format!("http://{address}{path}"));
        urls.collect::<Vec<_>>().join(", ")
    };
    let for_clients = urls(clients.addresses().collect(), "");
    writeln!(out, "Stoa {} serves {}.", env!("CARGO_PKG_VERSION"), config.server_name)?;
    writeln!(out)?;
    writeln!(out, "  clients   {for_clients}")?;
    let for_metrics = urls(measurers.addresses().collect(), "/metrics");
    if !for_metrics.is_empty() {
        writeln!(out, "  metrics   {for_metrics}")?;
    }
    match config.database_url() {
        DatabaseUrl::Sqlite(file) => {
            writeln!(out, "  data      {} (SQLite)", file.display())?;
        }
        DatabaseUrl::Postgres(url) => {
            writeln!(out, "  data      {url}, {}", config.data_dir.display())?;
        }
    }
    let homeserver = config.public_base_url.as_ref().map_or_else(
        || for_clients.split(", ").next().unwrap_or_default().to_owned(),
        ToString::to_string,
    );
    writeln!(out)?;
    writeln!(out, "To make the first account, an admin's, run in another terminal:")?;
    writeln!(out)?;
    writeln!(out, "  {} create-user --admin alice", program(args))?;
    writeln!(out)?;
    writeln!(out, "Then sign in with a Matrix client:")?;
    writeln!(out)?;
    writeln!(out, "  homeserver  {homeserver}")?;
    writeln!(out, "  user        @alice:{}", config.server_name)?;
    writeln!(out)?;
    out.flush()
}

/// The program as it was called, with its configuration.
fn program(args: &ConfigArgs) -> String {
    let program = env::args().next().unwrap_or_else(|| "stoa".to_owned());
    match &args.config {
        Some(file) => format!("{program} --config {}", file.display()),
        None => program,
    }
}
