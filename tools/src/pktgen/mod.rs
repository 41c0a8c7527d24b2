//! `valecast pkt-gen`: netmap's packet generator for ports of a Valecast switch, with its letters and output.
//!
//! [`getopt`] splits the command line, [`mod@parse`] checks it into [`options::Options`], [`session`] attaches to the
//! port ([`place`]) and puts `valecast_bench` to work, [`show`] prints what pkt-gen would.

mod getopt;
mod help;
mod jobs;
mod options;
mod parse;
mod place;
mod session;
mod show;
mod values;

use std::process::ExitCode;

use parse::{Parsed, parse};

/// Runs `valecast pkt-gen` with the arguments after its name.
pub fn run(args: Vec<String>) -> ExitCode {
    match parse(args) {
        Ok(Parsed::Help) => {
            out!("{}", help::HELP);
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(options)) => match session::run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                errln!("valecast pkt-gen: {e}");
                ExitCode::FAILURE
            }
        },
        Err(e) => {
            errln!("valecast pkt-gen: {e}\nTry `valecast pkt-gen -h`.");
            ExitCode::from(2)
        }
    }
}
