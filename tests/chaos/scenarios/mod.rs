//! Every row of the fault matrix.

/// `conch-chaos scenarios`
pub async fn command() -> bool {
    true
}
