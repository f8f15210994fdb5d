//! The report.

/// `conch-chaos report`
pub async fn command() -> bool {
    true
}
