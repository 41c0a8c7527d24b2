//! The networks that simulations run on.

use valecast_qc_dataplane::graph::Graph;
use valecast_qc_dataplane::topology::Topology;

/// The network that goes by a name or is in a file, its capacities divided by the largest. Links without one have
/// `capacity`, if that is given.
pub fn network(name: &str, capacity: Option<f64>) -> Result<Graph, String> {
    Ok(Topology::find(name, capacity).map_err(|e| e.to_string())?.graph.normalised())
}
