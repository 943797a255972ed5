/// The list of all pages. Each is loaded when it is needed.
import { lazy } from 'react';
import { BrowserRouter, Route, Routes } from 'react-router';
import { Guest, Protected } from './layout/guards.tsx';
import { Shell } from './layout/Shell.tsx';
import { Home } from './pages/Home.tsx';
import { NotFound } from './pages/NotFound.tsx';

const Login = lazy(() => import('./pages/Login.tsx').then(({ Login }) => ({ default: Login })));
const Register = lazy(() => import('./pages/Register.tsx').then(({ Register }) => ({ default: Register })));
const Profile = lazy(() => import('./pages/Profile.tsx').then(({ Profile }) => ({ default: Profile })));
const Devices = lazy(() => import('./pages/Devices.tsx').then(({ Devices }) => ({ default: Devices })));
const Users = lazy(() => import('./pages/Users.tsx').then(({ Users }) => ({ default: Users })));

export function App() {
  return (
    <BrowserRouter>
      <Routes>
        <Route element={<Shell />}>
          <Route element={<Protected />}>
            <Route index element={<Home />} />
            <Route path="profile" element={<Profile />} />
            <Route path="sessions" element={<Devices />} />
            <Route path="users" element={<Users />} />
          </Route>
          <Route element={<Guest />}>
            <Route path="login" element={<Login />} />
            <Route path="register" element={<Register />} />
          </Route>
          <Route path="*" element={<NotFound />} />
        </Route>
      </Routes>
    </BrowserRouter>
  );
}
