//! `valecast qc keygen`: certificates for a controller and its sites.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use valecast_qc_dataplane::controller::keys::generate;

/// More on `valecast qc keygen`.
pub const HELP: &str = "\
Makes in DIR what is missing: ca.pem and ca.key (keep the key offline), controller.pem/.key for the controller's host,
operator.pem/.key for people, and NAME.pem/.key for each site. What is there stays, so run it again for more sites.
A site gets ca.pem and its own two files, nothing else.

Example:
  valecast qc keygen --dir keys te.example S t1 t2";

/// What `valecast qc keygen` takes.
#[derive(Clone, Debug, Args)]
pub struct KeygenArgs {
    /// Where the files go.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The controller's host: the names and addresses that sites call it by, with commas between them.
    host: String,
    /// The sites.
    sites: Vec<String>,
}

/// Makes them.
pub fn run(args: &KeygenArgs) -> ExitCode {
    let hosts: Vec<String> = args.host.split(',').map(str::to_owned).collect();
    match generate(&args.dir, &hosts, &args.sites) {
        Ok(made) => {
            for path in made {
                outln!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            errln!("valecast: {e}");
            ExitCode::FAILURE
        }
    }
}
