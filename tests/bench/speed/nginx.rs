//! A plain nginx as a peer: one process, plain HTTP in, TLS and a kept connection to the server, buffering as it comes.

use std::fs;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// The running peer; stopped when dropped.
pub(crate) struct Nginx {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts one before `server` with the certificates of a scene's folder, or says why not.
    pub(crate) fn start(folder: &Path, server: SocketAddr) -> Result<Self, String> {
        let home = folder.join("nginx");
        fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.map_err(|error| error.to_string())?;
        let own = folder.display();
        let text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
             client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n\
             uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n\
             upstream api {{ server {server}; keepalive 8; keepalive_requests 1000000000; }}\n\
             server {{\n    listen {address};\n    location / {{\n      proxy_pass https://api;\n\
             proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
             proxy_ssl_name localhost;\n      proxy_ssl_server_name on;\n      proxy_ssl_verify on;\n\
             proxy_ssl_protocols TLSv1.2 TLSv1.3;\n\
             proxy_ssl_trusted_certificate {own}/ca.crt;\n\
             proxy_ssl_certificate {own}/own.crt;\n      proxy_ssl_certificate_key {own}/own.key;\n\
             }}\n  }}\n}}\n"
        );
        fs::write(home.join("nginx.conf"), text).map_err(|error| error.to_string())?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&home)
            .args(["-e", "error.log", "-c"])
            .arg(home.join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("not found: {error}"))?;
        let mut nginx = Self { child, address };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(nginx);
            }
            if let Ok(Some(status)) = nginx.child.try_wait() {
                let log = fs::read_to_string(home.join("error.log")).unwrap_or_default();
                return Err(format!("ended, {status}: {}", log.replace('\n', " ")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("does not listen".into())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
