//! The proof.

/// `conch-chaos sabotage`
pub async fn command() -> bool {
    true
}
