//! `valecast qc submit` and `cancel`: transfers for senders that wait for work.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use valecast_config::units::parse_size;
use valecast_qc_dataplane::control::{Created, NewTransfer, TransferStatus};

use super::controller::At;

/// More on `valecast qc submit`.
pub const HELP: &str = "\
The transfer is planned at once; its content comes from a sender at --from that waits for work. `valecast qc send` submits
and sends in one go. Prints the transfer's number.

Exit status: 0 done, 1 the answer was no, 2 the command makes no sense, 3 nobody answers.

Examples:
  valecast qc submit --from S --to t1,t2 --path /data/model.bin --bytes 4GiB
  valecast qc cancel 7";

/// What `valecast qc submit` takes.
#[derive(Clone, Debug, Args)]
pub struct SubmitArgs {
    /// The sender's site.
    #[arg(long, value_name = "SITE")]
    from: String,
    /// The receivers' sites.
    #[arg(long, value_name = "SITES", value_delimiter = ',', required = true)]
    to: Vec<String>,
    /// The file or directory at the sender's site.
    #[arg(long, value_name = "FILE")]
    path: PathBuf,
    /// Bytes of content, like 100000000 or 4GiB.
    #[arg(long, value_name = "N", value_parser = |s: &str| parse_size(s).map_err(|e| e.to_string()))]
    bytes: u64,
    /// What receivers call it [default: the last part of --path].
    #[arg(long)]
    name: Option<String>,
    /// How to plan it [default: as the controller does].
    #[arg(long)]
    scheme: Option<String>,
    /// Print JSON: {"id": N}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

/// What `valecast qc cancel` takes.
#[derive(Clone, Debug, Args)]
pub struct CancelArgs {
    /// The transfer.
    id: u64,
    /// Print how it stands then, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

/// Submits.
pub fn run(args: &SubmitArgs) -> ExitCode {
    let name = args.name.clone().or_else(|| Some(args.path.file_name()?.to_string_lossy().into_owned()));
    let Some(name) = name else {
        errln!("valecast: {} has no name: add --name", args.path.display());
        return ExitCode::from(2);
    };
    let new = NewTransfer {
        from: Some(args.from.clone()),
        to: args.to.clone(),
        bytes: args.bytes,
        name,
        overhead: 1.0,
        scheme: args.scheme.clone(),
        path: Some(args.path.to_string_lossy().into_owned()),
        request: None,
    };
    let asked = args.at.client().and_then(|c| c.ask::<Created>("POST", "/v1/transfers", Some(&json!(new))));
    match asked {
        Ok(created) => {
            match args.json {
                true => outln!("{}", json!(created)),
                false => outln!("{}", created.id),
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            errln!("valecast: {e}");
            e.code()
        }
    }
}

/// Cancels.
pub fn cancel(args: &CancelArgs) -> ExitCode {
    let path = format!("/v1/transfers/{}", args.id);
    match args.at.client().and_then(|c| c.ask::<TransferStatus>("DELETE", &path, None)) {
        Ok(status) => {
            match args.json {
                true => outln!("{}", json!(status)),
                false => outln!("transfer {} is cancelled", args.id),
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            errln!("valecast: {e}");
            e.code()
        }
    }
}
