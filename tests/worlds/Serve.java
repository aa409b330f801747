// A real Java ServerSocket, run as a child process by servers.py.
//
// Serve one HOST PORT   serve until standard input ends
// Serve batch           one "HOST PORT V6ONLY" per line: start, answer OK or FAIL, close
//
// HOST * means new ServerSocket(port), as most Java servers do.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

public class Serve {
    static ServerSocket start(String host, int port) throws IOException {
        if (host.equals("*")) return new ServerSocket(port);
        return new ServerSocket(port, 50, InetAddress.getByName(host));
    }

    static void serve(ServerSocket server) {
        byte[] answer = "HTTP/1.0 200 OK\r\nContent-Length: 22\r\n\r\nportguard test server\n".getBytes();
        while (true) {
            try (Socket client = server.accept()) {
                client.setSoTimeout(5000);
                client.getInputStream().read(new byte[8192]);
                client.getOutputStream().write(answer);
            } catch (IOException ignored) {
                // A client that goes away early must not end the server.
            }
        }
    }

    static String describe(Exception error) {
        return error.getClass().getSimpleName() + ": " + error.getMessage();
    }

    public static void main(String[] args) throws IOException {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        if (args[0].equals("batch")) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                String[] words = line.split(" ");
                try (ServerSocket server = start(words[0], Integer.parseInt(words[1]))) {
                    server.close();
                    System.out.println("OK");
                } catch (IOException | IllegalArgumentException error) {
                    System.out.println("FAIL " + describe(error));
                }
            }
            return;
        }
        try {
            ServerSocket server = start(args[1], Integer.parseInt(args[2]));
            Thread accepting = new Thread(() -> serve(server));
            accepting.setDaemon(true);
            accepting.start();
            System.out.println("READY " + server.getLocalPort());
        } catch (IOException | IllegalArgumentException error) {
            System.err.println(describe(error));
            System.exit(1);
        }
        while (input.readLine() != null) { }
    }
}
